"""A certificate says equal only of what was shown to be equal: which signals count, and what proves nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from cryptostream.backtest.parity import Live, Ran, after, certificate, check_beginning, compare, run, run_to
from cryptostream.errors import CheckFailed, DataQuality
from cryptostream.model.codec import signal_fields
from cryptostream.model.events import Bar, Entry, Gap, Micros, Opinion, Signal, Trade
from tests.backtest.traded import Klines, Trades, prices

LAST = (1 << 64) - 1
SOURCE = "data/"


def signal(entry_id: str, side: Opinion = "buy", price: float = 100.0, **values: float) -> Signal:
    return Signal(side, values=values, strategy="s", pair="BTCUSDT", price=price, entry_id=entry_id)


def written(*signals: Signal) -> list[Entry]:
    return [Entry("signals:s:BTCUSDT", each.entry_id, signal_fields(each)) for each in signals]


@dataclass
class Says:
    """A desk that says what it is told to say of some entries."""

    of: dict[str, Signal] = field(default_factory=dict)
    skipping: Any = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def on(self, event: Trade | Gap, /) -> list[Signal]:
        self.seen.append(event.entry_id)
        if self.skipping.get("s") == event.entry_id:
            self.skipped.append(event.entry_id)
            return []
        return [self.of[event.entry_id]] if event.entry_id in self.of else []

    def on_bar(self, bar: Bar, /) -> list[Signal]:
        return self.on(bar)  # type: ignore[arg-type]


TRADES = prices(*range(100, 110))
"""0-1, 1000-2 and so on to 9000-10."""
SAID = [signal("2000-3"), signal("5000-6", "sell"), signal("8000-9")]


def live(signals: Sequence[Signal] = SAID, **told: Any) -> Live:
    known = {"strategy": "s", "began_after": "0-0", "reached": "9000-10", **told}
    return Live(signals=written(*signals), **known)


def ran(one: Live, items: Sequence[Any] = TRADES, said: Sequence[Signal] = SAID, **told: Any) -> Ran:
    return run(Says({each.entry_id: each for each in said}), items, one, **told)


def test_what_is_the_same_is_certified_with_all_that_was_compared() -> None:
    one = live()
    found = certificate(one, ran(one), SOURCE)
    found.check()
    assert found.facts == {
        "equal": True,
        "compared": 3,
        "not_compared": 0,
        "entries": 10,
        "first": "0-1",
        "last": "9000-10",
        "live_reached": "9000-10",
        "left_out": 0,
        "sha256": compare(written(*SAID), SAID).sha256,
    }


CHANGES: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
    "side": lambda fields: {**fields, "side": "exit"},
    "price": lambda fields: {**fields, "price": "100.1"},
    "strength": lambda fields: {**fields, "strength": "0.5"},
    "reason": lambda fields: {**fields, "reason": "other"},
    "ts": lambda fields: {**fields, "ts": "1970-01-01T00:00:00.000001"},
    "an indicator": lambda fields: {**fields, "rsi": "30.000000000000004"},
    "one less": lambda fields: {name: value for name, value in fields.items() if name != "rsi"},
    "one more": lambda fields: {**fields, "other": "1.0"},
    "their order": lambda fields: dict(reversed(fields.items())),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_difference_in_any_field_is_one(change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    ours = [signal("1-1", rsi=20.0), signal("2-1", rsi=30.0), signal("3-1", rsi=40.0)]
    theirs = written(*ours)
    theirs[1] = Entry(theirs[1].stream, "2-1", change(dict(theirs[1].fields)))
    found = compare(theirs, ours)
    assert found.equal == 1
    assert found.difference is not None
    assert found.difference.entry_id == "2-1"
    assert str(found.difference).startswith("2-1: ")
    assert len(str(found.difference)) > 10
    assert found.sha256 == compare(theirs[:1], ours[:1]).sha256


def test_the_first_of_several_differences_is_told_by_its_fields() -> None:
    found = compare(written(signal("10-1", price=1.0), signal("9-1", "sell", 2.0)), [signal("9-1"), signal("10-1")])
    assert found.difference is not None
    assert (found.equal, found.difference.names) == (0, ["side", "price"])
    assert str(found.difference) == "9-1: side sell live, buy in the backtest; price 2.0 live, 100.0 in the backtest"


def test_the_digest_is_over_ids_and_fields() -> None:
    digests = [compare(written(each), [each]).sha256 for each in (signal("1-1"), signal("1-2"), signal("1-1", "sell"))]
    assert len(set(digests)) == 3
    assert digests[0] == compare(written(signal("1-1")), [signal("1-1")]).sha256


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_signal_that_live_missed_is_a_difference(place: int) -> None:
    one = live([*SAID[:place], *SAID[place + 1 :]])
    found = certificate(one, ran(one), SOURCE)
    assert found.facts["equal"] is False
    assert found.facts["compared"] == place
    with pytest.raises(DataQuality, match=f"{SAID[place].entry_id}: the backtest says .* live said nothing"):
        found.check()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_signal_that_live_wrote_too_many_is_a_difference(place: int) -> None:
    one = live()
    found = certificate(one, ran(one, said=[*SAID[:place], *SAID[place + 1 :]]), SOURCE)
    assert found.facts["compared"] == place
    with pytest.raises(DataQuality, match=f"{SAID[place].entry_id}: live said .* the backtest says nothing"):
        found.check()


def test_a_source_that_ends_before_live_did_proves_nothing_of_the_rest() -> None:
    one = live()
    found = certificate(one, ran(one, TRADES[:7]), SOURCE)
    assert found.difference is None
    facts = ("equal", "compared", "not_compared", "last", "live_reached")
    assert [found.facts[name] for name in facts] == [None, 2, 1, "6000-7", "9000-10"]
    with pytest.raises(
        CheckFailed, match="data/ ends at 6000-7, and live has read to 9000-10: 1 of its signals"
    ) as told:
        found.check()
    assert "--until" in told.value.hint


def test_one_entry_short_is_short_though_no_signal_lies_beyond() -> None:
    one = live()
    found = certificate(one, ran(one, TRADES[:9]), SOURCE)
    assert found.facts["not_compared"] == 0
    with pytest.raises(CheckFailed):
        found.check()


def test_a_difference_counts_more_than_a_source_that_ends_early() -> None:
    one = live([SAID[1], SAID[2]])
    found = certificate(one, ran(one, TRADES[:7]), SOURCE)
    assert found.facts["equal"] is False
    with pytest.raises(DataQuality, match="live said nothing"):
        found.check()


def test_who_wants_no_more_than_a_part_is_told_what_was_left() -> None:
    one = live([*SAID[:2], signal("8000-9", "exit")])
    part = ran(one, end_us=7_000_000)
    assert (part.entries, part.went_on) == (7, False)
    found = certificate(one, part, SOURCE, is_cut=True)
    found.check()
    assert [found.facts[name] for name in ("equal", "compared", "not_compared")] == [True, 2, 1]


def test_what_live_has_not_read_yet_is_not_asked_of_it() -> None:
    one = live(SAID[:2], reached="7000-8")
    made = ran(one)
    assert (made.entries, made.went_on) == (8, True)
    found = certificate(one, made, SOURCE)
    found.check()
    assert found.facts["compared"] == 2


def test_signals_beyond_what_live_had_read_then_are_not_compared() -> None:
    """They came, or stand there from a run before, and are told."""
    one = live(reached="5000-6")
    found = certificate(one, ran(one), SOURCE)
    found.check()
    assert [found.facts[name] for name in ("compared", "not_compared")] == [2, 1]


def test_an_entry_that_only_live_had_is_compared_where_the_source_goes_on() -> None:
    one = live([*SAID, signal("9000-11")], reached="9000-11")
    source = [*TRADES, *prices(*range(100, 112))[10:]]
    found = certificate(one, ran(one, source), SOURCE)
    assert found.difference is not None
    assert found.difference.entry_id == "9000-11"


def test_where_nobody_knows_how_far_live_is_all_of_the_source_is_compared() -> None:
    one = live(reached="")
    certificate(one, ran(one), SOURCE).check()
    assert certificate(one, ran(one), SOURCE).facts["live_reached"] is None
    short = certificate(one, ran(one, TRADES[:7]), SOURCE)
    with pytest.raises(CheckFailed, match="live has written more"):
        short.check()


@pytest.mark.parametrize(
    ("began_after", "items", "is_there"),
    [
        ("0-0", TRADES, True),
        ("0-0", TRADES[1:], False),
        ("0-0", [], False),
        (f"0-{LAST}", [*prices(1.0, 2.0)[1:]], False),
        ("1000-1", TRADES[1:], True),
        ("1000-0", TRADES[1:], False),
    ],
)
def test_a_source_without_the_first_entry_proves_nothing(
    began_after: str, items: Sequence[Trade], is_there: bool
) -> None:
    one = live([], began_after=began_after)
    made = ran(one, items, ())
    if is_there:
        check_beginning(made, one, SOURCE)
        certificate(one, made, SOURCE)
        return
    with pytest.raises(CheckFailed, match="nothing can be proven"):
        certificate(one, made, SOURCE)


def test_the_first_entry_may_be_the_first_of_its_millisecond() -> None:
    first = Trade("5-0", "binance", "BTCUSDT", 1.0, 1.0, Micros(5000), "buy", 0)
    one = live([], began_after=f"4-{LAST}", reached="5-0")
    certificate(one, ran(one, [first], ()), SOURCE).check()


def test_signals_of_a_run_before_do_not_count() -> None:
    one = live([signal("1000-2"), signal("2000-3", "exit"), *SAID[1:]], began_after="3000-3")
    found = certificate(one, ran(one, TRADES[3:]), SOURCE)
    found.check()
    assert found.facts["compared"] == 2


@pytest.mark.parametrize(("maxlen", "equal"), [(2, True), (1, True), (3, False), (0, False)])
def test_signals_that_may_have_been_trimmed_are_not_missed(maxlen: int, equal: bool) -> None:
    one = live(SAID[1:], maxlen=maxlen)
    found = certificate(one, ran(one), SOURCE)
    assert found.facts["equal"] is equal
    assert found.facts["compared"] == (2 if equal else 0)


def test_the_first_that_a_trimmed_stream_holds_is_compared() -> None:
    one = live([signal("5000-6", "exit"), SAID[2]], maxlen=2)
    assert certificate(one, ran(one), SOURCE).facts["equal"] is False


def test_of_a_trimmed_stream_too_what_lies_before_the_beginning_does_not_count() -> None:
    one = live([signal("1000-2"), *SAID[1:]], began_after="3000-3", maxlen=3)
    certificate(one, ran(one, TRADES[3:]), SOURCE).check()


def test_what_live_left_out_is_left_out() -> None:
    one = live([SAID[0], SAID[2]], left_out=frozenset({"5000-6"}))
    desk = Says({each.entry_id: each for each in SAID})
    found = certificate(one, run(desk, TRADES, one), SOURCE)
    found.check()
    assert (desk.skipped, desk.skipping, found.facts["left_out"]) == (["5000-6"], {}, 1)


def test_one_is_brought_to_the_entry_that_differs_and_no_further() -> None:
    one = live(left_out=frozenset({"3000-4"}))
    desk = Says()
    assert run_to(desk, TRADES, one, "5000-6") == TRADES[5]
    assert (desk.seen[-1], desk.skipped) == ("5000-6", ["3000-4"])
    lacking, desk = [*TRADES[:5], *TRADES[6:]], Says()
    assert run_to(desk, lacking, one, "5000-6") is None
    assert desk.seen[-1] == "4000-5"
    assert run_to(Says(), TRADES[:3], one, "5000-6") is None


@pytest.mark.parametrize("block", [1, 3, 100])
def test_of_a_series_all_above_an_id_is_taken(block: int) -> None:
    gap = Gap("4000-6", "binance", "BTCUSDT", gap_from=6, gap_to=7, cause="x", ts=Micros(4_000_000))
    behind = Gap("9000-11", "binance", "BTCUSDT", gap_from=6, gap_to=7, cause="x", ts=Micros(9_000_000))
    series = Trades([*TRADES[:5], gap, *TRADES[5:], behind], block)
    assert list(after(series, "0-0")) == [*TRADES[:5], gap, *TRADES[5:], behind]
    assert list(after(series, "4000-5")) == [gap, *TRADES[5:], behind]
    assert list(after(series, "4000-6")) == [*TRADES[5:], behind]
    assert list(after(series, "9000-10")) == [behind]


KLINES = list(Klines([(1.0, 2.0)] * 5).bars())
"""Minutes from 0 on: 59999-1, 119999-1 and so on."""


@pytest.mark.parametrize(
    ("began_after", "items", "is_there"),
    [
        ("59999-0", KLINES, True),
        (f"29999-{LAST}", KLINES, True),  # its first entry was the first minute, still open
        (f"59999-{LAST}", KLINES[1:], True),
        (f"29999-{LAST}", KLINES[1:], False),
        ("59999-0", KLINES[1:], False),
        ("59999-0", [], False),
    ],
)
def test_klines_that_are_open_are_nothing_that_a_source_lacks(
    began_after: str, items: Sequence[Bar], is_there: bool
) -> None:
    one = live([], began_after=began_after, reached="299999-1")
    if is_there:
        certificate(one, ran(one, items, ()), SOURCE).check()
        return
    with pytest.raises(CheckFailed, match="nothing can be proven"):
        certificate(one, ran(one, items, ()), SOURCE)


@pytest.mark.parametrize(
    ("reached", "is_short"),
    [("299999-1", False), ("300500-0", False), ("359999-0", False), ("359999-1", True), ("400000-0", True)],
)
def test_a_source_of_klines_is_short_by_closed_ones(reached: str, is_short: bool) -> None:
    one = live([], began_after="59999-0", reached=reached)
    found = certificate(one, ran(one, KLINES, ()), SOURCE)
    assert found.facts["equal"] is (None if is_short else True)
    assert bool(found.unproven) is is_short
