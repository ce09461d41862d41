"""`backtest-stream --verify`: the strategy over the same entries, beside the signals that live wrote, to the last byte.

Where live began it wrote down its state, warmed up or not. From there on the entries are given to the same objects, and
what they say is held against what stands in the stream: `backtest/parity.py` says what that proves. What live has
written is read before the source is, for both go on growing: so the source has all that live had read by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptostream import wiring
from cryptostream.backtest import parity
from cryptostream.backtest.parity import Certificate, Live
from cryptostream.bus import history
from cryptostream.bus.connect import Bus
from cryptostream.bus.effects import seeds
from cryptostream.bus.effects.letter import letters_key
from cryptostream.bus.effects.seeds import Seed
from cryptostream.cli.backtesting import Series
from cryptostream.config import Config
from cryptostream.errors import NotFound, UsageError
from cryptostream.model.events import Entry
from cryptostream.registry import did_you_mean
from cryptostream.strategies.desk import Desk
from cryptostream.wiring.roster import Roster


@dataclass(frozen=True)
class Written:
    """What live has written to a stream of signals: with which state it began, and what it said since."""

    stream: str
    pair: str
    alone: Roster
    """The strategy that said it, and no other."""
    seed: Seed
    live: Live

    def desk(self) -> Desk:
        """The strategy as it was when live began."""
        desk = self.alone.desk(self.pair)
        desk.__setstate__(self.seed.state)
        return desk


async def certify(
    config: Config,
    series: Sequence[Series],
    roster: Roster,
    stream: str,
    *,
    written: Written | None = None,
    end_us: int | None = None,
) -> Certificate:
    """Compare what live has `written` to a stream, read now unless given, with a backtest over the same entries.

    With `end_us` those before that time. Raises what `written` does, and CheckFailed where the entries that are there
    cannot prove it.
    """
    known = written or await read(config, roster, stream)
    source = _of_pair(series, known.pair)
    ran = parity.run(known.desk(), parity.after(source, known.seed.upto), known.live, end_us=end_us)
    found = parity.certificate(known.live, ran, source.stream, is_cut=end_us is not None)
    facts = {
        "signals": stream,
        **found.facts,
        "bars": known.alone.bars.text,
        "warmed_up_with": known.seed.warmed,
        "began": known.seed.at,
    }
    if found.difference is not None:
        facts |= await _inputs(config, source, known, found.difference.entry_id)
    return replace(found, facts=facts)


async def read(config: Config, roster: Roster, stream: str) -> Written:
    """What live has written to a stream of signals so far.

    Raises NotFound where it has not begun, UsageError where it is another strategy's or runs with other parameters.
    """
    label, pair = _parts(stream, roster)
    alone = roster.only(label)
    async with wiring.bus(config) as bus:
        seed = await _seed(bus, stream)
        if seed.config != alone.fingerprint:
            hint = "give the parameters and bars that live has, or --consumer NAME"
            raise UsageError("live runs this strategy with other parameters, other bars, or other code", hint=hint)
        live = Live(
            strategy=label,
            began_after=seed.upto,
            reached=await seeds.reached(bus, seed),  # before the signals: they may go beyond it, and never end short
            signals=await _entries(bus, stream),
            maxlen=config.bus.maxlen,
            left_out=await _left_out(bus, seed, label),
        )
    return Written(stream, pair, alone, seed, live)


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


async def _seed(bus: Bus, stream: str) -> Seed:
    found = await seeds.seed(bus, stream)
    if found is None:
        known = [name for name in await history.streams(bus, "signals:*") if await seeds.seed(bus, name)]
        hint = did_you_mean(stream, known) or f"known: {', '.join(known[:10]) or 'none'}"
        raise NotFound(f"no strategy of ours has begun to write {stream}", hint=hint)
    return found


async def _entries(bus: Bus, stream: str, first: str = "-", last: str = "+") -> list[Entry]:
    return [entry async for page in history.between(bus, stream, first, last) for entry in page]


async def _left_out(bus: Bus, seed: Seed, label: str) -> frozenset[str]:
    """What the dead letters of a group say of a strategy on its stream."""
    letters = [entry.fields for entry in await _entries(bus, letters_key(seed.group))]
    told = f"strategy {label} of "
    return frozenset(
        letter["entry_id"]
        for letter in letters
        if letter.get("stream") == seed.stream and told in letter.get("error", "")
    )


def _of_pair(series: Sequence[Series], pair: str) -> Series:
    found = next((one for one in series if one.pair == pair), None)
    if found is None:
        raise NotFound(f"the source has nothing of {pair}", hint=f"it has: {', '.join(one.pair for one in series)}")
    return found


async def _inputs(config: Config, source: Series, known: Written, entry_id: str) -> dict[str, Any]:
    """An entry as live had it and as the source has it, and the bar and the indicators there."""
    desk = known.desk()
    mine = parity.run_to(desk, parity.after(source, known.seed.upto), known.live, entry_id)
    async with wiring.bus(config) as bus:
        theirs = await _entries(bus, known.seed.stream, entry_id, entry_id)
    return {
        "input_live": theirs[0].fields if theirs else None,
        "input_backtest": None if mine is None else repr(mine),
        "bar": repr(desk.bar),
        "indicators": desk.values,
    }
