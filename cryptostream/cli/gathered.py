"""What a backtest reads: Parquet and the venue's daily files where they lie; streams and tapes are set down first."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from cryptostream.cli.origins import OnBus, Span, is_path
from cryptostream.errors import DataQuality, NotFound, UsageError
from cryptostream.model.entryid import Rising
from cryptostream.model.events import Entry
from cryptostream.model.instrument import Channel
from cryptostream.registry import did_you_mean

if TYPE_CHECKING:
    from cryptostream.backtest.block import BarSeries, TradeSeries
    from cryptostream.config import Config

    Series = TradeSeries | BarSeries

_DAILIES = (".csv", ".csv.gz", ".zip")
Progress = Callable[[int, int], None]
"""Told how much has been read, of how much."""


async def gather(
    config: "Config", words: Sequence[str], span: Span, symbols: Sequence[str], folder: Path, progress: Progress
) -> "list[Series]":
    """The series that words stand for: streams of the bus, or files. `folder` is where the former are set down.

    Raises NotFound for what is not there, and where nothing of the symbols is; DataQuality for what is damaged.
    """
    paths = [Path(word) for word in words if is_path(word)]
    if paths and len(paths) < len(words):
        raise UsageError("files and streams at once", hint="backtest the ones, then the others")
    found = await (
        _of_files(config, paths, folder, progress) if paths else _of_bus(config, words, span, folder, progress)
    )
    return _wanted(found, symbols)


async def _of_files(config: "Config", paths: Sequence[Path], folder: Path, progress: Progress) -> "list[Series]":
    from cryptostream.tape import series

    if tapes := [path for path in paths if not _has_columns(path)]:
        if len(tapes) < len(paths):
            raise UsageError(f"{tapes[0]} is a tape, and {paths[0]} is not", hint="backtest the ones, then the others")
        return await _of_tapes(config, tapes, folder, progress)
    return series.find(paths)


def _has_columns(path: Path) -> bool:
    """Whether a path is, or holds, Parquet or daily files; in a folder they are known by their names."""
    from cryptostream.tape import dailies
    from cryptostream.tape.parquet import is_closed
    from cryptostream.tape.reader import is_parquet

    if not path.exists():
        raise NotFound(f"no such file or folder: {path}")
    if not path.is_dir():
        return path.name.endswith(_DAILIES) or is_parquet(path)
    return any(is_closed(each.name) or dailies.parse(each.name) is not None for each in path.rglob("*"))


async def _of_tapes(config: "Config", paths: Sequence[Path], folder: Path, progress: Progress) -> "list[Series]":
    from cryptostream.cli.replay import entry_of, player_of, tapes_of
    from cryptostream.engine.clock import SystemClock
    from cryptostream.model.instrument import DEFAULT_VENUE

    player = player_of(config, tapes_of(paths, skip_bad=False), DEFAULT_VENUE, {"clock": SystemClock()})
    made = entry_of(config, player)

    async def pages() -> AsyncGenerator[list[Entry], None]:
        async for batch in player.batches():
            yield [made(event) for event in batch.events]
            progress(player.position, player.size)

    return await _staged(pages(), folder)


async def _of_bus(
    config: "Config", words: Sequence[str], span: Span, folder: Path, progress: Progress
) -> "list[Series]":
    from cryptostream import wiring
    from cryptostream.cli import reading

    async with wiring.bus(config) as bus:
        found = await reading.find(bus, words)
        names = [name for name in found.names if name.partition(":")[0] in set(Channel)] or found.names
        origin = OnBus(bus, names, span)

        async def pages() -> AsyncGenerator[list[Entry], None]:
            async for page in origin.batches():
                yield page
                progress(*origin.progress)

        return await _staged(pages(), folder)


async def _staged(pages: AsyncGenerator[list[Entry], None], folder: Path) -> "list[Series]":
    """Entries set down by columns, so that they can be read again and from other processes."""
    from cryptostream.tape.staged import Stage

    rising = Rising()  # two sockets of a tape may have brought an entry twice
    with Stage(folder) as stage:
        async with aclosing(pages):
            async for page in pages:
                stage.add([entry for entry in page if rising.takes(entry)])
    return [one for one in stage.series() if one.size]


def _wanted(found: "Sequence[Series]", symbols: Sequence[str]) -> "list[Series]":
    """Those of some pairs, all unless told. Raises NotFound for a pair that is not there."""
    if not found:
        raise NotFound("there are no trades and no closed klines", hint="a stream, a tape, a Parquet folder, or CSV")
    pairs = {each.pair for each in found}
    for symbol in symbols:
        if symbol not in pairs:
            hint = did_you_mean(symbol, pairs) or f"there are: {', '.join(sorted(pairs)[:10])}"
            raise NotFound(f"nothing of {symbol}", hint=hint)
    return [each for each in found if not symbols or each.pair in symbols]


def one_kind(found: "Sequence[Series]", *, klines: bool) -> "list[Series]":
    """Trades where there are any, unless klines are wanted: a pair is backtested on one of them.

    Raises UsageError where klines of several intervals are left, DataQuality where nothing is.
    """
    trades = [each for each in found if hasattr(each, "blocks")]
    bars = [each for each in found if not hasattr(each, "blocks")]
    chosen: list[Series] = [*bars] if klines or not trades else [*trades]
    if not chosen:
        raise DataQuality("there are no klines", hint="leave out --klines")
    if len(intervals := {getattr(each, "interval", "") for each in chosen}) > 1:
        raise UsageError(f"klines of several intervals: {', '.join(sorted(intervals))}", hint="name the streams")
    if len({(each.exchange, each.pair) for each in chosen}) < len(chosen):
        raise UsageError("a pair is there twice", hint="name the streams or files that are meant")
    return chosen
