"""A recorded day as an exchange: frames go out again in their own spacing, and REST knows the trades among them.

A tape is text, plain or gzip, one frame a line: `<receive time, ns> <frame as received>`. Frames may have the envelope
of a combined stream or not. A folder is all its files, merged by time. The tape is read whole: it has to fit in memory.
"""

import gzip
import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from cryptostream.errors import DataQuality, NotFound
from cryptostream.sim.decimals import E8
from cryptostream.sim.listing import Listing, listing
from cryptostream.sim.market import SimAggregate, SimTrade, merged

_FOREVER_US = 2**62


class _Envelope(msgspec.Struct):
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw()


class _Payload(msgspec.Struct):
    """As much of an event as it takes to know its stream, and the trade in it."""

    e: str = ""
    s: str = ""
    k: Any = None
    t: Any = None
    p: Any = None
    q: Any = None
    T: Any = None  # the venue's own letter
    m: bool = False
    u: Any = None
    b: Any = None


class TapeFrame(msgspec.Struct, frozen=True, gc=False):
    """One recorded event, its envelope taken off; `at_us` is when it was received."""

    at_us: int
    stream: str
    words: bytes

    def payload(self, unit_us: int) -> bytes:  # noqa: ARG002  # a tape speaks in the unit it was recorded in
        return self.words


class Tape:
    """Recorded frames by stream, and the trades among them; answers the same questions as the made-up market."""

    def __init__(self, path: Path) -> None:
        self.frames: dict[str, list[TapeFrame]] = {}
        self.skipped = 0
        """Lines whose stream cannot be told: depth snapshots, replies, damaged lines."""
        self._trades: dict[str, list[SimTrade]] = {}
        self._known_us: dict[str, list[int]] = {}
        for at_us, text in _lines(path):
            self._take(at_us, text)
        if not self.frames:
            raise DataQuality(f"{path} holds no frames", hint="a line is <receive time, ns> <frame>")
        self.starts_us = min(frames[0].at_us for frames in self.frames.values())
        self.ends_us = max(frames[-1].at_us for frames in self.frames.values())
        self._aggregates = {pair: _aggregated(trades) for pair, trades in self._trades.items()}
        self.listings: dict[str, Listing] = {pair: listing(pair) for pair in sorted(self._pairs())}

    def first_id(self, pair: str) -> int:
        return self._of(pair)[0].id if self._of(pair) else 1

    def last_id(self, pair: str, at_us: int) -> int:
        """The newest id that the recorder had seen at a time: a trade is known from when it was received."""
        known = bisect_right(self._known_us.get(pair, []), at_us)
        return self._of(pair)[known - 1].id if known else self.first_id(pair) - 1

    def traded_by(self, pair: str, time_us: int) -> int:
        traded = bisect_right(self._of(pair), time_us, key=lambda trade: trade.time_us)
        return self._of(pair)[traded - 1].id if traded else self.first_id(pair) - 1

    def trades(self, pair: str, first: int, last: int) -> Iterator[SimTrade]:
        trades = self._of(pair)
        low = bisect_left(trades, first, key=_id_of)
        high = bisect_right(trades, last, key=_id_of)
        return iter(trades[low:high])

    def first_aggregate_id(self, pair: str) -> int:  # noqa: ARG002
        return 1

    def last_aggregate_id(self, pair: str, at_us: int) -> int:
        last = self.last_id(pair, at_us)
        return bisect_right(self._aggregates.get(pair, []), last, key=lambda made: made.last_id)

    def aggregates(self, pair: str, first: int, last: int) -> Iterator[SimAggregate]:
        return iter(self._aggregates.get(pair, [])[max(0, first - 1) : max(0, last)])

    def _of(self, pair: str) -> list[SimTrade]:
        return self._trades.get(pair, [])

    def _pairs(self) -> set[str]:
        return {stream.partition("@")[0].upper() for stream in self.frames if not stream.startswith("!")}

    def _take(self, at_us: int, text: bytes) -> None:
        try:
            envelope = msgspec.json.decode(text, type=_Envelope)
            words = bytes(envelope.data) or text
            event = msgspec.json.decode(words, type=_Payload)
            stream = envelope.stream or _stream_of(event)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            stream = ""
        if not stream:
            self.skipped += 1
            return
        self.frames.setdefault(stream, []).append(TapeFrame(at_us, stream, words))
        if event.e == "trade":
            self._keep(at_us, event)

    def _keep(self, at_us: int, event: _Payload) -> None:
        """Remember a trade, once, in id order."""
        trades, known = self._trades.setdefault(event.s, []), self._known_us.setdefault(event.s, [])
        if not trades or event.t > trades[-1].id:
            trades.append(SimTrade(event.t, _e8(event.p), _e8(event.q), _micros(event.T), event.m))
            known.append(max(at_us, known[-1] if known else 0))


class TapeStream:
    """One stream of a tape, from a time on."""

    def __init__(self, frames: Sequence[TapeFrame], now_us: int) -> None:
        self.pair = frames[0].stream.partition("@")[0].upper()
        self._frames = frames
        self._next = bisect_left(frames, now_us, key=lambda frame: frame.at_us)
        self.due_us = self._due()

    def take(self, until_us: int) -> Sequence[TapeFrame]:
        end = bisect_right(self._frames, until_us, lo=self._next, key=lambda frame: frame.at_us)
        taken = self._frames[self._next : end]
        self._next = end
        self.due_us = self._due()
        return taken

    def _due(self) -> int:
        return self._frames[self._next].at_us if self._next < len(self._frames) else _FOREVER_US


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if not path.exists():
        raise NotFound(f"no such tape: {path}")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return heapq.merge(*(_file_lines(file) for file in files if _is_tape(file)), key=lambda line: line[0])


def _is_tape(file: Path) -> bool:
    with _opened(file) as lines:
        start: bytes = lines.read(64)
        return start.split(b" ", 1)[0].isdigit()


def _file_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    with _opened(file) as lines:
        for number, line in enumerate(lines, 1):
            at_ns, _, text = line.rstrip(b"\n").partition(b" ")
            if not at_ns.isdigit():
                raise DataQuality(
                    f"{file}, line {number}: no receive time", hint="a line is <receive time, ns> <frame>"
                )
            yield int(at_ns) // 1_000, text


def _opened(file: Path) -> Any:
    return gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")


def _stream_of(event: _Payload) -> str:
    symbol = event.s.lower()
    if not symbol:
        return ""
    if event.e in ("trade", "aggTrade"):
        return f"{symbol}@{event.e}"
    if event.e == "kline" and isinstance(event.k, dict):
        return f"{symbol}@kline_{event.k.get('i')}"
    return f"{symbol}@bookTicker" if not event.e and event.u is not None and event.b is not None else ""


def _aggregated(trades: Sequence[SimTrade]) -> list[SimAggregate]:
    """Neighbours of the same price, side and time as one, numbered from 1: a tape does not tell the orders apart."""
    runs = groupby(trades, key=lambda trade: (trade.price_e8, trade.buyer_is_maker, trade.time_us))
    return [merged(number, list(run)) for number, (_, run) in enumerate(runs, 1)]


def _id_of(trade: SimTrade) -> int:
    return trade.id


def _e8(text: str) -> int:
    whole, _, rest = text.partition(".")
    return int(whole) * E8 + int(rest[:8].ljust(8, "0"))


def _micros(time: int) -> int:
    """Milliseconds have 13 digits, microseconds 16."""
    return time if time >= 10**15 else time * 1_000
