"""What one browser watches of the way from sockets to groups, and what it is to be told next: differences."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused, BusUnavailable
from cryptostream.model.ports import Clock
from cryptostream.web import shown
from cryptostream.web.dashboard.differences import Rows
from cryptostream.web.dashboard.telling import Message
from cryptostream.web.probes import Probes

MOST_STREAMS = 500
MOST_LETTERS = 50
_MOST_SAID = 20
_SLOW_TURNS = 2

Table = Mapping[str, Mapping[str, Any]]


class Working:
    """The whole pipeline, in tables by name."""

    def __init__(self, probes: Probes, clock: Clock | None = None) -> None:
        self._probes = probes
        self._clock = clock or SystemClock()
        self._letters: Sequence[shown.Letter] = ()
        self._words: list[str] = []
        self.forget()

    def find(self, text: str) -> None:
        """Streams with these words in their names: where there are too many, the first of these are told."""
        self._words = text.lower().split()
        self._turn = 0

    def forget(self) -> None:
        """The browser has nothing: the next message tells it everything."""
        self._turn = 0
        self._told: dict[str, Rows] = {}

    async def message(self) -> Message:
        """What has changed since the last message; empty where nothing has. Streams and letters come less often."""
        pipeline, streams = self._probes.pipeline(), self._probes.streams()
        tables: dict[str, Table] = {
            "now": {"now": _now(pipeline, len(streams))},
            "ingesters": {each.process: each.model_dump() for each in pipeline.ingesters},
            "consumers": {f"{each.process}/{each.name}": _consumer(each) for each in self._probes.consumers()},
            "groups": groups(self._probes.groups()),
        }
        if self._turn % _SLOW_TURNS == 0:
            tables["streams"] = {each.stream: _stream(each) for each in self._found(streams)}
            tables["letters"] = {f"{each.queue} {each.id}": _letter(each) for each in await self._newest()}
        self._turn += 1
        told = {name: self._told.setdefault(name, Rows()).changed(rows) for name, rows in tables.items()}
        message = {name: change for name, change in told.items() if change}
        return {**message, "at": self._clock.now_ns() // 1_000_000} if message else {}

    def _found(self, streams: Sequence[shown.Stream]) -> Sequence[shown.Stream]:
        named = (each for each in streams if all(word in each.stream.lower() for word in self._words))
        return list(islice(named, MOST_STREAMS))

    async def _newest(self) -> Sequence[shown.Letter]:
        """The newest dead letters; those that were known while the bus is away."""
        with suppress(BusUnavailable, BusRefused):  # the page says so already
            self._letters = await self._probes.letters(MOST_LETTERS)
        return self._letters


def groups(found: Sequence[shown.Group]) -> dict[str, Mapping[str, Any]]:
    """Groups over all their streams; `worst` is the stream that lags most. A lag nobody knows is not in the sum."""
    parts: dict[str, list[shown.Group]] = {}
    for each in found:
        parts.setdefault(each.group, []).append(each)
    return {name: _group(name, parts[name]) for name in sorted(parts)}


def _group(name: str, parts: Sequence[shown.Group]) -> Mapping[str, Any]:
    known = [part for part in parts if part.lag is not None]
    worst = max(known, key=lambda part: part.lag or 0, default=None)
    return {
        "group": name,
        "streams": len(parts),
        "members": max(part.consumers for part in parts),
        "pending": sum(part.pending for part in parts),
        "lag": sum(part.lag or 0 for part in known) if known else None,
        "worst": worst.stream if worst is not None and worst.lag else "",
    }


def _now(pipeline: shown.Pipeline, streams: int) -> Mapping[str, Any]:
    return {
        "wrong": pipeline.wrong[:_MOST_SAID],
        "wrongs": len(pipeline.wrong),
        "redis": pipeline.redis_connected,
        "bus": pipeline.bus,
        "messages": _rounded(pipeline.messages_per_s),
        "published": _rounded(pipeline.published_per_s),
        "p50": _rounded(pipeline.latency.p50_ms),
        "p99": _rounded(pipeline.latency.p99_ms),
        "gaps": pipeline.gaps_open[:_MOST_SAID],
        "gaps_open": len(pipeline.gaps_open),
        "letters": pipeline.dead_letters,
        "streams": streams,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _consumer(consumer: shown.Consumer) -> Mapping[str, Any]:
    return {**consumer.model_dump(exclude={"parameters"}), "strategies": ", ".join(consumer.strategies)}


def _letter(letter: shown.Letter) -> Mapping[str, Any]:
    return {**letter.model_dump(), "group": letter.queue.removeprefix("dlq:")}


def _stream(stream: shown.Stream) -> Mapping[str, Any]:
    return {
        "stream": stream.stream,
        "length": stream.length,
        "rate": _rounded(stream.rate_per_s),
        "last": stream.last,
        "first": stream.first,
        "memory": stream.memory_bytes,
        "groups": len(stream.groups),
    }
