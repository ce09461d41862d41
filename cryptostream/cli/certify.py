"""`backtest-stream --verify`: the strategy over the same entries, beside the signals that live wrote, to the last byte.

Where live began it wrote down its state, warmed up or not. From there on the entries are given to the same objects, and
what they say is held against what stands in the stream, id by id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cryptostream import wiring
from cryptostream.backtest import parity
from cryptostream.backtest.parity import Compared, Difference
from cryptostream.bus import history
from cryptostream.bus.connect import Bus
from cryptostream.bus.effects import seeds
from cryptostream.bus.effects.letter import letters_key
from cryptostream.bus.effects.seeds import Seed
from cryptostream.bus.group.place import before
from cryptostream.cli.backtesting import Series
from cryptostream.config import Config
from cryptostream.errors import CheckFailed, DataQuality, NotFound, UsageError
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Bar, Entry, Gap, Signal, Trade
from cryptostream.registry import did_you_mean
from cryptostream.wiring.roster import Roster

Item = Trade | Gap | Bar


@dataclass(frozen=True)
class Live:
    """What live has written: its signals, the state it began with, and up to where it has read."""

    signals: list[Entry]
    seed: Seed
    reached: str
    kept_above: str
    """The id above which the stream still holds every signal: it keeps about `bus.maxlen`, and never fewer."""
    left_out: frozenset[str]
    """Entries that the strategy failed at, and live went on without."""


@dataclass(frozen=True)
class Certificate:
    """What was compared, and the first difference where there is one."""

    facts: dict[str, Any]
    difference: Difference | None

    def check(self) -> None:
        """Raise DataQuality where live and backtest differ."""
        if self.difference is not None:
            raise DataQuality(f"live and backtest differ at {self.difference}")


async def certify(
    config: Config, series: Sequence[Series], roster: Roster, stream: str, *, end_us: int | None = None
) -> Certificate:
    """Compare the signals of a stream with those of a backtest over the same entries.

    Raises NotFound, UsageError for other parameters, CheckFailed where the entries that are there cannot prove it.
    """
    label, pair = _parts(stream, roster)
    one = _series(series, pair)
    async with wiring.bus(config) as bus:
        live = await _live(bus, stream, label, config.bus.maxlen)
        alone = roster.only(label)
        if live.seed.config != alone.fingerprint:
            hint = "give the parameters and bars that live has, or --consumer NAME"
            raise UsageError("live runs this strategy with other parameters, other bars, or other code", hint=hint)
        made = _said(one, alone, live, end_us)
        ours = parity.within(made.signals, live.kept_above, made.last)
        theirs = [entry for entry in live.signals if parse_id(entry.entry_id) <= parse_id(made.last)]
        found = parity.compare(theirs, ours)
        facts = _facts(stream, alone, live, made, found)
        if found.difference is not None:
            facts |= await _first(bus, one, alone, live, found.difference.entry_id)
    return Certificate(facts, found.difference)


def _parts(stream: str, roster: Roster) -> tuple[str, str]:
    """The strategy and the pair of a stream of signals."""
    kind, _, rest = stream.partition(":")
    label, _, pair = rest.partition(":")
    if kind != "signals" or not pair:
        raise UsageError(f'"{stream}" is no stream of signals', hint="as in signals:macd_rsi:BTCUSDT")
    if label not in roster.labels:
        hint = did_you_mean(label, roster.labels) or f"--strategy {label}"
        raise UsageError(f'"{label}" is none of the strategies here', hint=hint)
    return label, pair.rpartition(":")[2].strip("{}")


def _series(series: Sequence[Series], pair: str) -> Series:
    found = next((one for one in series if one.pair == pair), None)
    if found is None:
        raise NotFound(f"the source has nothing of {pair}", hint=f"it has: {', '.join(one.pair for one in series)}")
    return found


async def _live(bus: Bus, stream: str, label: str, maxlen: int) -> Live:
    seed = await seeds.seed(bus, stream)
    if seed is None:
        known = [name for name in await history.streams(bus, "signals:*") if await seeds.seed(bus, name)]
        hint = did_you_mean(stream, known) or f"known: {', '.join(known[:10]) or 'none'}"
        raise NotFound(f"no strategy of ours has begun to write {stream}", hint=hint)
    reached = await seeds.reached(bus, seed)
    signals = [entry async for page in history.between(bus, stream) for entry in page]
    is_trimmed = 0 < maxlen <= len(signals)
    kept_above = before(signals[0].entry_id) if is_trimmed else seed.upto
    return Live(signals, seed, reached, kept_above, await _left_out(bus, seed, label))


async def _left_out(bus: Bus, seed: Seed, label: str) -> frozenset[str]:
    """What the dead letters of a group say of a strategy on its stream."""
    told = f"strategy {label} of "
    letters = [entry.fields async for page in history.between(bus, letters_key(seed.group)) for entry in page]
    return frozenset(
        letter["entry_id"]
        for letter in letters
        if letter.get("stream") == seed.stream and told in letter.get("error", "")
    )


@dataclass
class _Made:
    signals: list[Signal]
    entries: int
    first: str
    last: str


def _said(series: Series, roster: Roster, live: Live, end_us: int | None) -> _Made:
    """What the strategy says of the entries that live has read, from where it began."""
    desk, [label] = roster.desk(series.pair), roster.labels
    desk.__setstate__(live.seed.state)
    made = _Made([], 0, "", live.seed.upto)
    for item in _after(series, live.seed.upto):
        if (live.reached and parse_id(item.entry_id) > parse_id(live.reached)) or (end_us and item.ts >= end_us):
            break
        desk.skipping = {label: item.entry_id} if item.entry_id in live.left_out else {}
        made.signals += desk.on_bar(item) if isinstance(item, Bar) else desk.on(item)
        made.first, made.last = made.first or item.entry_id, item.entry_id
        made.entries += 1
    _check_beginning(series, live.seed, made)
    return made


def _check_beginning(series: Series, seed: Seed, made: _Made) -> None:
    """Whether the source has the first entry that live was given: then it has what came after, or says so."""
    ms, sequence = parse_id(seed.upto)
    if not made.entries or parse_id(made.first) != (ms, sequence + 1):
        where = f"begins at {made.first}" if made.first else "has nothing of it"
        raise CheckFailed(
            f"live began right after {seed.upto}, and {series.stream} {where}: nothing can be proven",
            hint="the stream was trimmed since? a recorder's folder has it all: consume trades --sink parquet",
        )


def _after(series: Series, entry_id: str) -> Iterator[Item]:
    """Its trades and gaps, or klines, above an id."""
    place = parse_id(entry_id)
    if hasattr(series, "blocks"):
        for block in series.blocks():
            if (int(block.ms[-1]), int(block.trade_id[-1])) > place:
                yield from (item for item in block.events() if parse_id(item.entry_id) > place)
    else:
        yield from (bar for bar in series.bars() if parse_id(bar.entry_id) > place)


async def _first(bus: Bus, series: Series, roster: Roster, live: Live, entry_id: str) -> dict[str, Any]:
    """Both inputs at an entry, and the indicators there."""
    desk, [label], mine = roster.desk(series.pair), roster.labels, None
    desk.__setstate__(live.seed.state)
    for mine in _after(series, live.seed.upto):
        if parse_id(mine.entry_id) > parse_id(entry_id):
            break
        desk.skipping = {label: mine.entry_id} if mine.entry_id in live.left_out else {}
        desk.on_bar(mine) if isinstance(mine, Bar) else desk.on(mine)
        if mine.entry_id == entry_id:
            break
    stream = live.seed.stream
    theirs = [entry async for page in history.between(bus, stream, entry_id, entry_id) for entry in page]
    return {
        "input_live": theirs[0].fields if theirs else None,
        "input_backtest": repr(mine) if mine is not None and mine.entry_id == entry_id else None,
        "bar": repr(desk.bar),
        "indicators": desk.values,
    }


def _facts(stream: str, roster: Roster, live: Live, made: _Made, found: Compared) -> dict[str, Any]:
    return {
        "signals": stream,
        "equal": found.difference is None,
        "compared": found.equal,
        "entries": made.entries,
        "first": made.first,
        "last": made.last,
        "bars": roster.bars.text,
        "warmed_up_with": live.seed.warmed,
        "left_out": len(live.left_out),
        "began": live.seed.at,
        "sha256": found.sha256,
        **({"difference": str(found.difference)} if found.difference is not None else {}),
    }
