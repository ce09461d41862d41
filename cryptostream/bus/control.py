"""Wishes of operators as entries of a stream: whoever runs obeys and answers, on whatever machine.

    control:requests    role, verb, args (JSON), by, within_ms; the id is the request's name
    control:answers     request, by, role, verdicts (JSON)
    control:here:<role> a sorted set: `host:pid` of who obeys, scored with the server's time until which that holds
    control:watchlist   a hash: `<exchange>:<pair>` to `+` or `-`, what was wished beside the configuration
    control:consumers   a hash: the consumer's name to what was wished of it (JSON)

Requests are for those of a role who run when they are made: who comes later finds what was accepted in the two hashes,
and what has waited for longer than `within_ms`, by the server's clock, is not obeyed any more. Who did not answer in
time may have obeyed all the same. Both hashes have a field `!` from the first wish on, without which one has been lost.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Literal

import msgspec

from cryptostream import logs
from cryptostream.bus import history
from cryptostream.bus.ask import asking, heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.outage import Outage
from cryptostream.engine.clock import within
from cryptostream.errors import BusRefused, BusUnavailable, CryptostreamError, NoAnswer, Unreachable
from cryptostream.model.entryid import parse_id
from cryptostream.model.ports import Clock

Role = Literal["ingest", "consume"]

REQUESTS = "control:requests"
ANSWERS = "control:answers"
HERE = "control:here:"
WATCHLIST = "control:watchlist"
CONSUMERS = "control:consumers"
HERE_S = 10.0
"""How long who obeys counts as being here after `be_here`."""
WITHIN_S = 5.0
"""How long an answer is waited for."""
NOBODY: Mapping[Role, tuple[str, str]] = {
    "ingest": ("nobody ingests on this bus", "start it: cryptostream run, or cryptostream ingest"),
    "consume": ("nobody consumes on this bus", "start it: cryptostream run, or cryptostream consume --requests"),
}
"""What is told where nobody of a role is here, and the way out."""
_MARK = "!"
_KEPT = 1000
_BLOCK_MS = 1000
_SHORTEST_BLOCK_MS = 10
_LAST_WORD_S = 0.5
_AGAIN_S = 0.5
_log = logs.get("control")


class Request(msgspec.Struct, frozen=True):
    """One wish; `entry_id` names it."""

    entry_id: str
    verb: str
    args: dict[str, Any]
    by: str
    role: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """What became of one part of a request: of a symbol, a strategy, a consumer."""

    what: str
    accepted: bool
    why: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What one process says to a request."""

    by: str
    verdicts: list[Verdict]


class Outcome(msgspec.Struct, frozen=True):
    """All answers to a request, at least one verdict among them, and who was here and did not answer in time."""

    request: str
    answers: list[Answer]
    unanswered: list[str]


Obey = Callable[[Request], Awaitable[Sequence[Verdict]]]


async def ask(
    bus: Bus, verb: str, args: Mapping[str, Any], *, role: Role, by: str, clock: Clock, within_s: float = WITHIN_S
) -> Outcome:
    """Make a request, and wait until all who are here have answered it.

    Raises BusUnavailable, BusRefused; Unreachable where nobody is here, NoAnswer where nobody has said anything to it.
    """
    waiting = await here(bus, role)
    if not waiting:
        message, hint = NOBODY[role]
        raise Unreachable(message, hint=hint)
    place = (await history.tops(bus, [ANSWERS]))[ANSWERS]
    told = {"role": role, "verb": verb, "args": msgspec.json.encode(args), "by": by}
    fields = {**told, "within_ms": round(within_s * 1000)}
    with asking(bus, REQUESTS):
        request = str(await bus.command.xadd(REQUESTS, fields, maxlen=_KEPT, approximate=True))  # type: ignore[arg-type]
    answers: dict[str, Answer] = {}
    deadline_s = clock.monotonic() + within_s
    while not answers.keys() >= set(waiting) and (left_s := deadline_s - clock.monotonic()) > 0:
        heed_cancellation()
        for entry_id, found in await _read(bus, ANSWERS, place, max(_SHORTEST_BLOCK_MS, round(left_s * 1000))):
            place = entry_id
            if found.get("request") == request and (one := _answer(entry_id, found)) is not None:
                answers[one.by] = one
    silent = sorted(set(waiting) - answers.keys())
    if not any(one.verdicts for one in answers.values()):
        raise _no_answer(request, silent)
    return Outcome(request, list(answers.values()), silent)


async def attend(bus: Bus, role: Role, by: str, clock: Clock, obey: Obey) -> None:
    """Obey and answer the requests to a role one after the other until cancelled, and be one who is asked meanwhile.

    What `obey` raises is answered as a refusal. A bus that does not allow this is told once in the log, and ends it.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            after = await _end(bus, clock)  # who is here by now has missed nothing
            tasks.create_task(_stay(bus, role, by, clock))
            async with aclosing(requests(bus, clock, after=after)) as wished:
                async for request in wished:
                    if request.role == role:
                        await _obeyed(bus, request, obey, role, by)
    except* BusRefused as refused:
        _log.warning("control.denied", role=role, why=str(refused.exceptions[0]))
    finally:
        with suppress(BusUnavailable, BusRefused, TimeoutError):
            await within(clock, _LAST_WORD_S, leave(bus, role, by))


async def requests(bus: Bus, clock: Clock, *, after: str = "") -> AsyncGenerator[Request, None]:
    """What is wished from now on, or after an entry, for ever; while the bus is away this waits. Raises BusRefused."""
    outage, place = Outage(clock, bus), after or await _end(bus, clock)
    doubtful = False
    while True:
        heed_cancellation()
        try:
            if doubtful:  # a server that came back may hold less than it did, and count on from there
                place = min(place, (await history.tops(bus, [REQUESTS]))[REQUESTS], key=parse_id)
            found = await _read(bus, REQUESTS, place, _BLOCK_MS)
            now_ms, at_s = await _now_ms(bus) if found else 0, clock.monotonic()
        except BusUnavailable as trouble:
            await outage.wait(trouble)
            doubtful = True
            continue
        outage.over()
        doubtful = False
        for entry_id, told in found:
            place = entry_id
            waited_ms = now_ms + round((clock.monotonic() - at_s) * 1000) - parse_id(entry_id)[0]
            if (request := _request(entry_id, told, waited_ms)) is not None:
                yield request


async def answer(bus: Bus, request: Request, verdicts: Sequence[Verdict], *, role: Role, by: str) -> None:
    """Say what became of a request. Raises BusUnavailable, BusRefused."""
    fields = {"request": request.entry_id, "by": by, "role": role, "verdicts": msgspec.json.encode(verdicts)}
    with asking(bus, ANSWERS):
        await bus.command.xadd(ANSWERS, fields, maxlen=_KEPT, approximate=True)  # type: ignore[arg-type]


async def be_here(bus: Bus, role: Role, by: str) -> None:
    """Count as one who obeys, for HERE_S from now. Raises BusUnavailable, BusRefused."""
    until_ms = await _now_ms(bus) + round(HERE_S * 1000)
    with asking(bus, HERE + role):
        await bus.command.zadd(HERE + role, {by: until_ms})


async def leave(bus: Bus, role: Role, by: str) -> None:
    """Be asked nothing more. Raises BusUnavailable, BusRefused."""
    with asking(bus, HERE + role):
        await bus.command.zrem(HERE + role, by)


async def here(bus: Bus, role: Role) -> list[str]:
    """Who obeys now, sorted; who is gone for long is forgotten. Raises BusUnavailable, BusRefused."""
    now_ms = await _now_ms(bus)
    with asking(bus, HERE + role):
        await bus.command.zremrangebyscore(HERE + role, "-inf", now_ms - 60_000)
        found: list[Any] = list(await bus.command.zrangebyscore(HERE + role, now_ms, "+inf"))
    return sorted(map(str, found))


async def wishes(bus: Bus, key: str) -> dict[str, str]:
    """What one of the two hashes holds. Raises BusUnavailable, BusRefused."""
    found = await _fields(bus, key)
    found.pop(_MARK, None)
    return found


async def wish(bus: Bus, key: str, wanted: Mapping[str, str | None]) -> None:
    """Write into one of the two hashes, all at once; None takes a wish back. Raises BusUnavailable, BusRefused."""
    gone = [name for name, value in wanted.items() if value is None]
    kept = {name: value for name, value in wanted.items() if value is not None}
    pipeline = bus.command.pipeline(transaction=True)
    pipeline.hset(key, mapping={_MARK: "1", **kept})  # type: ignore[dict-item]
    if gone:
        pipeline.hdel(key, *gone)
    with asking(bus, key):
        await pipeline.execute()


class Wishes:
    """One of the two hashes for a process that keeps to it: a bus that has lost it is told again.

    A hash that was emptied by wish has lost nothing: who slept through that forgets what it knew.
    """

    def __init__(self, bus: Bus, key: str) -> None:
        self.bus = bus
        self._key = key
        self._known: dict[str, str] = {}

    async def read(self) -> dict[str, str]:
        """What is wished. Raises BusUnavailable, BusRefused."""
        found = await _fields(self.bus, self._key)
        if found.pop(_MARK, None) is not None:
            self._known = found
        elif self._known:
            _log.warning("control.lost", key=self._key, why="the bus holds it no more; it is written again")
            await wish(self.bus, self._key, self._known)
        return {**found, **self._known}

    async def wish(self, wanted: Mapping[str, str | None]) -> None:
        """Write into it, all at once; None takes a wish back. Raises BusUnavailable, BusRefused."""
        await wish(self.bus, self._key, wanted)
        whole: dict[str, str | None] = {**self._known, **wanted}
        self._known = {name: value for name, value in whole.items() if value is not None}


async def _obeyed(bus: Bus, request: Request, obey: Obey, role: Role, by: str) -> None:
    """Obey and answer; while the bus is away nobody can be answered, and what was done stays done."""
    try:
        try:
            verdicts = await obey(request)
        except BusUnavailable:
            raise
        except CryptostreamError as refused:
            verdicts = [Verdict(request.verb, False, "; ".join(filter(None, (str(refused), refused.hint))))]
        await answer(bus, request, verdicts, role=role, by=by)
    except BusUnavailable as trouble:
        _log.warning("control.unanswered", request=request.entry_id, verb=request.verb, why=str(trouble))
        return
    told = {"yes": sum(one.accepted for one in verdicts), "no": sum(not one.accepted for one in verdicts)}
    _log.info("control.obeyed", request=request.entry_id, verb=request.verb, by=request.by, **told)


async def _stay(bus: Bus, role: Role, by: str, clock: Clock) -> None:
    while True:
        delay_s = HERE_S / 10
        try:
            await be_here(bus, role, by)
        except BusUnavailable:
            delay_s = _AGAIN_S
        heed_cancellation()
        await clock.sleep(delay_s)


async def _end(bus: Bus, clock: Clock) -> str:
    """Behind all that was wished so far; while the bus is away this waits."""
    outage = Outage(clock, bus)
    while True:
        heed_cancellation()
        try:
            found = (await history.tops(bus, [REQUESTS]))[REQUESTS]
        except BusUnavailable as trouble:
            await outage.wait(trouble)
            continue
        outage.over()
        return found


async def _fields(bus: Bus, key: str) -> dict[str, str]:
    with asking(bus, key):
        found: dict[Any, Any] = await bus.command.hgetall(key)
    return found


def _no_answer(request: str, silent: Sequence[str]) -> NoAnswer:
    if silent:
        hint = "it may have been obeyed all the same; is the process alive?"
        return NoAnswer(f"no answer in time to request {request} from {', '.join(silent)}", hint=hint)
    hint = "try again in ten seconds: another takes it over"
    return NoAnswer(f"who is in charge of it has not answered request {request}", hint=hint)


def _request(entry_id: str, told: Mapping[str, str], waited_ms: int) -> Request | None:
    try:
        if waited_ms > int(told["within_ms"]):
            _log.warning("control.stale", request=entry_id, verb=told["verb"])
            return None
        args = msgspec.json.decode(told["args"], type=dict[str, Any])
        return Request(entry_id, told["verb"], args, told["by"], told["role"])
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        _unreadable(entry_id, error)
        return None


def _answer(entry_id: str, told: Mapping[str, str]) -> Answer | None:
    try:
        return Answer(told["by"], msgspec.json.decode(told["verdicts"], type=list[Verdict]))
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        _unreadable(entry_id, error)
        return None


def _unreadable(entry_id: str, error: Exception) -> None:
    _log.warning("control.unreadable", entry=entry_id, why=f"{type(error).__name__}: {error}"[:200])


async def _read(bus: Bus, stream: str, place: str, block_ms: int) -> list[tuple[str, dict[str, str]]]:
    with asking(bus, stream):
        found: Any = await bus.blocking.xread({stream: place}, count=100, block=min(block_ms, _BLOCK_MS))
    return list(found[0][1]) if found else []


async def _now_ms(bus: Bus) -> int:
    with asking(bus):
        seconds, micros = await bus.command.time()
    return int(seconds) * 1000 + int(micros) // 1000
