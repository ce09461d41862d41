"""`cryptostream replay`: recordings go through the live code again, as fast as they came or as fast as it goes."""

import math
import re
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command
from cryptostream.cli.render import Output
from cryptostream.errors import NotFound, UsageError
from cryptostream.model.codec import iso
from cryptostream.registry import did_you_mean

if TYPE_CHECKING:
    from cryptostream.config import Config
    from cryptostream.engine.stats import PublisherStats
    from cryptostream.model.events import Entry
    from cryptostream.model.ports import Clock, Sink
    from cryptostream.tape.play import EntryPlayer, FramePlayer
    from cryptostream.tape.reader import Found

_REPAINT_S = 0.2
_LONGEST_LIST = 1 << 20
_PREFIX = re.compile(r"[\w.:-]{0,64}")


class To(StrEnum):
    """Where entries go."""

    BUS = "bus"
    STDOUT = "stdout"


@dataclass(frozen=True)
class Goal:
    """What is to become of the entries."""

    to: To
    prefix: str
    maxlen: int
    output: Output


@command("replay")
async def replay(
    call: Call,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Tapes, Parquet or JSONL of entries, or folders of them."),
    ],
    speed: Annotated[
        str, typer.Option(metavar="max|1x|10x", help="How fast, by the time frames were received.")
    ] = "max",
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start with what was received then: RFC 3339, epoch ms, -15m.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="End with what was received then.")] = None,
    symbols: Annotated[
        list[str] | None,
        typer.Option("--symbols", "-s", help="Only these pairs: BTCUSDT,ETHUSDT; repeat it, or @file."),
    ] = None,
    to: Annotated[To, typer.Option(help="Where entries go.")] = To.BUS,
    prefix: Annotated[str, typer.Option(help="Put before every stream's name, as in test:")] = "",
    maxlen: Annotated[int, typer.Option(min=0, help="Trim streams to about this length; 0 never trims.")] = 0,
    exchange: Annotated[str, typer.Option(help="Whose frames these are.")] = "binance",
    no_raw: Annotated[bool, typer.Option("--no-raw", help="Leave raw_json out of the entries.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on behind what is damaged, and count it.")] = False,
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Entries handed on at once.")] = 500,
    output: Annotated[
        Output, typer.Option("-o", "--output", help="How to print the account, or the entries.")
    ] = Output.AUTO,
) -> int:
    """Play recorded frames into the bus through the same code as live, or print the entries they make.

    An entry that is there already is not written again, so a replay can be repeated. The account ends with the SHA-256
    of the entries, the same for every speed and batch size. A damaged file is played as far as it is whole: exit 6.
    """
    from cryptostream.engine.clock import SystemClock

    clock = SystemClock()
    config = call.settings(bus__raw_json=False if no_raw else None)
    wanted = _symbols(symbols or ())
    pacing = {
        "clock": clock,
        "speed": _speed(speed),
        **_span(since, until, clock.now_ns()),
        "pairs": wanted,
        "batch": batch,
    }
    player = player_of(config, tapes_of(paths, skip_bad=skip_bad), exchange, pacing)
    code = await _run(config, player, clock, Goal(to, _checked_prefix(prefix), maxlen, output))
    return _tell_missing(wanted, player, code)


def _speed(text: str) -> float | None:
    """Times faster than recorded; None for as fast as it goes.

    >>> _speed("max"), _speed("10x"), _speed("0.5")
    (None, 10.0, 0.5)
    """
    if text == "max":
        return None
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise UsageError(f'not a speed: "{text}"', hint="max, 1x as recorded, 10x ten times as fast, 0.5x")
    return speed


def _span(since: str | None, until: str | None, now_ns: int) -> dict[str, int | None]:
    """Both ends in ns, the last one to the end of its millisecond."""
    from cryptostream.model.times import moment

    first = None if since is None else moment(since, now_ns) * 1_000_000
    last = None if until is None else moment(until, now_ns) * 1_000_000 + 999_999
    if first is not None and last is not None and first > last:
        raise UsageError(f"--since {since} is after --until {until}")
    return {"since": first, "until": last}


def _symbols(given: Sequence[str]) -> list[str]:
    from cryptostream.model.instrument import check_symbol

    words = [word for text in given for word in _words(text)]
    return [check_symbol(word.upper()) for word in words]


def _words(text: str) -> list[str]:
    """The words of a list with commas, or of the file that `@` names. Raises NotFound, UsageError."""
    if text.startswith("@"):
        from cryptostream.tape.lines import open_regular

        with open_regular(Path(text[1:])) as file:
            text = file.read(_LONGEST_LIST).decode(errors="replace")
    return text.replace(",", " ").split()


def _checked_prefix(prefix: str) -> str:
    if not _PREFIX.fullmatch(prefix):
        raise UsageError(
            f"not a prefix: {prefix[:80]!a}", hint="letters, digits and ._:- only, at most 64; as in test:"
        )
    return prefix


def tapes_of(paths: Sequence[Path], *, skip_bad: bool) -> "Found":
    from cryptostream.tape.reader import find

    found = find(paths, skip_bad=skip_bad)
    if found.frames and found.entries:
        raise UsageError(
            f"frames ({found.frames[0].path}) and entries ({found.entries[0].path}) do not share a clock",
            hint="replay them one after the other",
        )
    for path, reason in found.others:
        render.note(f"passed over {path}: {reason}")
    return found


def player_of(config: "Config", found: "Found", exchange: str, pacing: dict[str, Any]) -> "FramePlayer | EntryPlayer":
    from cryptostream import wiring
    from cryptostream.tape.play import EntryPlayer, FramePlayer
    from cryptostream.venues.recorded import Recorded

    if found.entries:
        return EntryPlayer(found.entries, **pacing)
    venue = wiring.venue(config, exchange)
    return FramePlayer(found.frames, venue.replay(), order=Recorded(venue.rule), **pacing)


async def _run(config: "Config", player: "FramePlayer | EntryPlayer", clock: "Clock", goal: Goal) -> int:
    from cryptostream.cli import replayed
    from cryptostream.engine.pipeline import Pipeline
    from cryptostream.engine.runtime import Runtime
    from cryptostream.engine.stats import PublisherStats

    stats = PublisherStats()
    aside = goal.to is To.STDOUT
    made = replayed.Fingerprint(
        entry_of(config, player), stats, replayed.shown(goal.output, goal.prefix) if aside else None
    )
    async with AsyncExitStack() as opened:
        sinks = [made] if aside else [await _streams(opened, config, player, clock, goal, stats), made]
        runtime = Runtime(
            [Pipeline("replay", player, sinks)], clock=clock, companions=[_progress(player, clock, goal.to)]
        )
        began = clock.monotonic()
        try:
            return await runtime.run()
        finally:
            facts = replayed.account(player, made, stats, clock.monotonic() - began)
            replayed.tell(facts, goal.output, aside=aside)


def entry_of(config: "Config", player: "FramePlayer | EntryPlayer") -> Callable[[Any], "Entry"]:
    """What makes an event the entry of its stream; entries are that already."""
    from cryptostream import wiring
    from cryptostream.bus.pack import Entries
    from cryptostream.tape.play import FramePlayer

    return Entries(wiring.keys(config)) if isinstance(player, FramePlayer) else lambda entry: entry


async def _streams(
    opened: AsyncExitStack,
    config: "Config",
    player: "FramePlayer | EntryPlayer",
    clock: "Clock",
    goal: Goal,
    stats: "PublisherStats",
) -> "Sink":
    """The sink that writes what a player plays to the bus."""
    from cryptostream import wiring
    from cryptostream.bus.publish import Publisher
    from cryptostream.bus.restore import Restorer
    from cryptostream.tape.play import EntryPlayer

    bus = await opened.enter_async_context(wiring.bus(config))
    if isinstance(player, EntryPlayer):
        return Restorer(bus, stats, prefix=goal.prefix, maxlen=goal.maxlen)
    key_of = wiring.keys(config, goal.prefix)
    return Publisher(bus, clock=clock, maxlen=goal.maxlen, key_of=key_of, stats=stats)


def _progress(player: "FramePlayer | EntryPlayer", clock: "Clock", to: To) -> Callable[[], Awaitable[None]]:
    """A bar on a terminal that is not busy with entries: how much has been read, and where in recorded time that is."""

    async def repaint() -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        console = render.err()
        if not console.is_terminal or (to is To.STDOUT and sys.stdout.isatty()):
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
            task = bar.add_task("replay", total=player.size)
            while True:
                at = f"{iso(player.last // 1000)[:19]}Z" if player.last else "replay"
                bar.update(task, completed=player.position, description=at, refresh=True)
                await clock.sleep(_REPAINT_S)

    return repaint


def _tell_missing(wanted: Collection[str], player: "FramePlayer | EntryPlayer", code: int) -> int:
    """Name the symbols that were asked for and never came. Raises NotFound where none of them did."""
    missing = [symbol for symbol in wanted if symbol not in player.seen]
    if not missing or code:
        return code
    hint = did_you_mean(missing[0], player.seen) or f"on the tape: {', '.join(sorted(player.seen)[:10]) or 'nothing'}"
    said = f"the tape holds nothing of {', '.join(missing)}"
    if len(missing) == len(wanted):
        raise NotFound(said, hint=hint)
    render.note(f"{said}; {hint}")
    return code
