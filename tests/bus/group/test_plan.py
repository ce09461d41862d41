"""Which streams the next read asks, and for how much."""

from collections.abc import Iterable

from cryptostream.bus.group.place import Place
from cryptostream.bus.group.plan import Plan, plan
from cryptostream.bus.group.read import NEW

COUNT = 100


def places(number: int, **stands: bool) -> list[Place]:
    """Streams of which what is new is read."""
    return [Place(f"s{place}", at=NEW, **stands) for place in range(number)]


def asked(planned: Plan) -> list[str]:
    return [stream for read in planned.reads for stream in read.places]


def turns(of: Iterable[Place], reads: int) -> list[set[str]]:
    found = list(of)
    return [set(asked(plan(found, COUNT, 0.0))) for _ in range(reads)]


def test_streams_that_fill_their_reads_take_turns_until_each_had_one() -> None:
    first, second, third, fourth = turns(places(7), 4)
    assert len(first) == len(second) == 3
    assert not first & second
    assert first | second | third >= {f"s{place}" for place in range(7)}
    assert fourth != third


def test_what_was_read_long_ago_comes_before_what_was_read_just_now() -> None:
    some = places(3)
    for _ in range(5):
        plan(some, COUNT, 0.0)
    found = [*some, *places(5)[3:]]
    assert {"s3", "s4"} <= set(asked(plan(found, COUNT, 0.0)))


def test_a_stream_that_is_quiet_is_in_every_read() -> None:
    quiet = Place("quiet", at=NEW, is_full=False, is_doubtful=False)
    assert all("quiet" in names for names in turns([*places(9), quiet], 5))


def test_a_read_that_leaves_streams_out_does_not_wait() -> None:
    planned = plan([*places(9), Place("quiet", at=NEW, is_full=False, is_doubtful=False)], COUNT, 0.0)
    assert not planned.is_calm


def test_once_no_stream_fills_its_read_all_are_waited_for_together() -> None:
    planned = plan(places(1000, is_full=False, is_doubtful=False), COUNT, 0.0)
    assert planned.is_calm
    assert len(asked(planned)) == 1000
    assert planned.most == 20


def test_a_batch_that_is_larger_is_read_of_one_stream_at_a_time() -> None:
    planned = plan(places(9), 5000, 0.0)
    assert (len(asked(planned)), planned.most) == (1, 5000)


def test_a_stream_that_was_left_out_is_not_through_for_want_of_entries() -> None:
    waiting = Place("s", at=NEW, is_dry=True)
    assert not waiting.is_through("9-0")
    waiting.take_new([], COUNT)
    assert waiting.is_through("9-0")


def test_what_may_kill_is_handed_over_by_itself_in_the_whole_process() -> None:
    first, second = (Place(name, suspects={"1-1", "1-2"}) for name in ("s1", "s2"))
    planned = plan([first, second, *places(3)], COUNT, 0.0)
    assert [(dict(read.places), read.most) for read in planned.reads] == [({"s1": first.at}, 1)]
