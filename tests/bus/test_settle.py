"""What a refusal means: verdicts on plain values, then two writers on one stream in every order of their steps."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptostream.bus.connect import connect
from cryptostream.bus.publish import Publisher
from cryptostream.bus.resp import ServerWire
from cryptostream.bus.settle import verdict
from cryptostream.bus.top import Top
from cryptostream.model.events import GapRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Subscription
from cryptostream.testing import ManualClock

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
STREAM = "trades:BTCUSDT"
T0 = 1_731_605_400_000


def trade(trade_id: int, ms: int = T0, *, filled: bool = False) -> TradeRecord:
    return TradeRecord(BTC, "1", "1", Micros(ms * 1000), "buy", trade_id, filled=filled)


def gap(first: int, last: int) -> GapRecord:
    return GapRecord(BTC, first, last, "deadline", Micros(T0 * 1000))


def top(number: int, last_id: int | None = None, *, ms: int = T0 + 50, latest: int | None = None) -> Top:
    return Top((ms, latest or number), number, last_id or number, last_id is not None)


@pytest.mark.parametrize(
    ("refused", "newest", "expected"),
    [
        pytest.param([trade(3), trade(4)], top(4), (2, 0, [], 0), id="there already"),
        pytest.param([trade(3), trade(4)], top(3), (1, 0, [trade(4)], 0), id="clamped differently"),
        pytest.param([trade(3, filled=True)], top(4), (1, 1, [], 0), id="another one saw what we had missed"),
        pytest.param([gap(3, 9)], top(9), (1, 0, [], 0), id="a gap whose trades are all there"),
        pytest.param([gap(3, 9)], top(5), (0, 0, [gap(6, 9)], 0), id="a gap of which some are there"),
        pytest.param([gap(3, 9)], top(3, last_id=9), (1, 0, [], 0), id="a gap that another one has recorded"),
        pytest.param([gap(3, 9)], top(3, last_id=7), (0, 0, [gap(8, 9)], 0), id="a gap recorded in part"),
        pytest.param([trade(4)], top(3, last_id=9), (0, 0, [trade(4)], 0), id="a trade in another one's gap"),
        pytest.param([trade(4)], top(2, latest=7), (0, 0, [], 1), id="no place below an entry that was deleted"),
        pytest.param([trade(4)], top(2, latest=4), (0, 0, [], 1), id="no place where one was deleted"),
        pytest.param([trade(4), trade(8)], top(2, latest=7), (0, 0, [trade(8)], 1), id="a place above a deleted one"),
    ],
)
def test_what_became_of_refused_records(refused: Sequence[Record], newest: Top, expected: tuple[Any, ...]) -> None:
    assert verdict(refused, newest) == expected


def test_what_a_later_entry_has_overtaken_is_not_sent_again() -> None:
    assert verdict([trade(3), trade(4)], top(3), overtaken=True) == (1, 0, [], 1)


class Turns:
    """Lets one player at a time do one step, in an order that chance has chosen and that can be had again."""

    def __init__(self, random: Random, players: Iterable[str]) -> None:
        self.random = random
        self._playing = set(players)
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def take(self, player: str) -> None:
        self._waiting[player] = asyncio.get_running_loop().create_future()
        mine = self._waiting[player]
        self._give()
        await mine

    def leave(self, player: str) -> None:
        self._playing.discard(player)
        self._give()

    def _give(self) -> None:
        if self._playing and self._playing == set(self._waiting):
            self._waiting.pop(self.random.choice(sorted(self._waiting))).set_result(None)


class SteppedWire(ServerWire):
    """Sends a few commands at a turn, and now and then the server has done them but its answers are lost."""

    turns: Turns
    player: str
    loss: float

    async def send(self, commands: Iterable[str], count: int) -> list[Any]:
        rest, replies = list(commands), list[Any]()
        while rest:
            await self.turns.take(self.player)
            size = self.turns.random.randint(1, 4)
            replies += await super().send(rest[:size], len(rest[:size]))
            rest = rest[size:]
            if self.turns.random.random() < self.loss:
                raise ConnectionError("lost")
        return replies


class Feed:
    """A line of trades from a first id on, which goes back when it is told to."""

    def __init__(self, line: Sequence[Record], start: int, random: Random) -> None:
        self._line = line
        self._random = random
        self._place = start

    def rewind(self, _: Subscription, last_id: int) -> None:
        self._place = min(n for n, record in enumerate(self._line) if _first(record) > last_id)

    def batch(self) -> Sequence[Record]:
        start, self._place = self._place, self._place + self._random.randint(1, 5)
        return self._line[start : self._place]


def _first(record: Record) -> int:
    return record.gap_from if isinstance(record, GapRecord) else record.trade_id  # type: ignore[union-attr]


Line = tuple[Sequence[Record], int]
"""Records, and the place of the first one that is published: a line that goes back can have those before it."""


async def play(url: str, lines: dict[str, Line], seed: int, *, loss: float, folder: Path) -> Any:
    """Write each line by a publisher of its own, step by step; the stream's entries and the publishers."""
    turns = Turns(Random(seed), lines)
    clock = ManualClock()
    async with connect(url, data_dir=folder, clock=clock) as bus:
        await bus.command.flushall()

        async def write(player: str, line: Line) -> Publisher:
            async def wire() -> SteppedWire:
                made = SteppedWire(await bus.raw_connection())
                made.turns, made.player, made.loss = turns, player, loss
                return made

            feed = Feed(*line, turns.random)
            through: Any = SimpleNamespace(url=bus.url, wire=wire, waiting=bus.waiting)
            sink = Publisher(through, clock=clock, maxlen=0, random=Random(seed), rewind=feed.rewind)
            try:
                await turns.take(player)
                async with sink:
                    while batch := feed.batch():
                        await sink.write(batch)
            finally:
                turns.leave(player)
            return sink

        sinks = await asyncio.gather(*(write(player, line) for player, line in lines.items()))
        return await bus.command.xrange(STREAM), sinks


times = st.lists(st.integers(-3, 4), min_size=12, max_size=40)
writers = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@writers
@given(
    steps=times,
    starts=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    seed=st.integers(0, 1 << 32),
    loss=st.sampled_from([0.0, 0.1]),
)
def test_two_writers_make_one_stream_whatever_their_steps_and_however_time_steps_back(
    real_redis_url: str, tmp_path: Path, steps: list[int], starts: tuple[int, int], seed: int, loss: float
) -> None:
    truth = [trade(n, T0 + sum(steps[: n + 1])) for n in range(len(steps))]
    lines = {player: (truth, start) for player, start in zip(("one", "other"), starts, strict=True)}
    stored, sinks = asyncio.run(play(real_redis_url, lines, seed, loss=loss, folder=tmp_path))
    found = [int(entry["trade_id"]) for _, entry in stored]
    assert found == list(range(found[0], len(truth)))
    assert found[0] in starts
    assert [sink.stats.refused for sink in sinks] == [0, 0]
    if not loss:
        assert sum(sink.stats.published for sink in sinks) == len(found)


@writers
@given(
    steps=st.lists(st.integers(0, 3), min_size=12, max_size=30),
    hole=st.tuples(st.integers(1, 6), st.integers(0, 4)),
    seed=st.integers(0, 1 << 32),
)
def test_a_gap_of_one_writer_costs_no_trade_beyond_it_and_no_order(
    real_redis_url: str, tmp_path: Path, steps: list[int], hole: tuple[int, int], seed: int
) -> None:
    truth = [trade(n, T0 + sum(steps[: n + 1])) for n in range(len(steps))]
    first, last = hole[0], sum(hole)
    holed = [*truth[:first], gap(first, last), *truth[last + 1 :]]
    stored, _ = asyncio.run(
        play(real_redis_url, {"one": (holed, 0), "other": (truth, 0)}, seed, loss=0.0, folder=tmp_path)
    )
    found = [int(entry["trade_id"]) for _, entry in stored if "trade_id" in entry]
    recorded = {n for _, entry in stored if "gap_to" in entry for n in range(int(entry["gap_from"]), last + 1)}
    assert found == sorted(set(found))
    assert set(found) | recorded == set(range(len(truth)))
    assert recorded <= set(range(first, last + 1))


def test_two_writers_begin_one_stream_on_either_engine(bus_url: str, tmp_path: Path) -> None:
    truth = [trade(n, T0 - n % 3) for n in range(12)]
    stored, _ = asyncio.run(play(bus_url, {"one": (truth, 4), "other": (truth, 0)}, 3, loss=0.0, folder=tmp_path))
    found = [int(entry["trade_id"]) for _, entry in stored]
    assert found == list(range(found[0], 12))
