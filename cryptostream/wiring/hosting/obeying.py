"""What is asked of consumers and strategies: looked at, refused with a reason, or wished for all times to come."""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec.structs import replace

from cryptostream.bus.control import Verdict
from cryptostream.config.strategies import AS
from cryptostream.errors import BusRefused, BusUnavailable, CryptostreamError, UsageError
from cryptostream.registry import did_you_mean
from cryptostream.strategies import loading
from cryptostream.web import shown
from cryptostream.wiring.hosting.hosted import Hosted
from cryptostream.wiring.hosting.house import House, names
from cryptostream.wiring.hosting.making import apart, check
from cryptostream.wiring.hosting.planned import started
from cryptostream.wiring.hosting.wished import NOTHING, Wished

VERBS = ("start", "stop", "pause", "resume", "parameters")
MOST = 100
"""Strategies that may be started by request on one bus."""
_SETTLES_S = 3.0
"""How long an answer waits for what is asked to be done."""
_MOST_PARAMETERS = 64
_UNFINISHED = "it is still finishing what it has begun"


class Obeying:
    """Obeys for one process. Whatever another one is to answer is passed over in silence."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def obey(self, verb: str, args: Mapping[str, Any]) -> list[Verdict]:
        """What becomes of a request; nothing where that is for another process. Raises BusUnavailable, BusRefused."""
        name = str(args.get("name") or args.get("strategy") or "")
        try:
            why = await self._obeyed(verb, name, args)
        except (BusUnavailable, BusRefused):
            raise
        except CryptostreamError as error:
            return [Verdict(name, False, f"{error}{f'; {error.hint}' if error.hint else ''}")]
        return [] if why is None else [Verdict(name, True, why)]

    async def _obeyed(self, verb: str, name: str, args: Mapping[str, Any]) -> str | None:
        """Words about what was done, None for another's business. Raises UsageError for what is refused."""
        if verb not in VERBS:
            raise UsageError(f'consumers do not know what "{verb[:64]}" is')
        if verb == "start":
            return await self._start(started(args))
        one, is_known = await self._whose(name)
        if one is None:
            if is_known:
                return None
            raise UsageError(f'no consumer or strategy "{name[:64]}" runs', hint=await self._meant(name))
        if verb == "parameters":
            return await self._set(one, name, args.get("parameters"))
        if verb == "stop":
            return await self._stop(one, name, remove=bool(args.get("remove")))
        _check_whole(one, name)
        return await self._turn(one, "paused" if verb == "pause" else "running")

    async def _start(self, wanted: shown.Start) -> str | None:
        name = wanted.name or wanted.strategy
        one, is_known = await self._whose(name)
        if one is None:
            return None if is_known else await self._begin(name, wanted)
        _check_whole(one, name)
        goes_on = wanted == shown.Start(strategy=wanted.strategy, name=wanted.name) and wanted.strategy in (
            name,
            *one.planned.row.strategies.values(),
        )
        if goes_on or await self._was_started_so(one, wanted):
            return await self._turn(one, "running")
        if one.planned.row.started_by == "configuration":
            raise UsageError(f'"{name}" stands in the configuration', hint="start this one under another name")
        if not one.planned.is_paused:
            raise UsageError(f'"{name}" runs with other settings', hint="stop it first, or set its parameters")
        return await self._begin(name, wanted)

    async def _was_started_so(self, one: Hosted, wanted: shown.Start) -> bool:
        wished = await self._wished(one)
        return wished.start is not None and started(wished.start) == _named(one.name, wanted)

    async def _begin(self, name: str, wanted: shown.Start) -> str | None:
        """A strategy that is new, or has new settings."""
        wanted = _named(name, wanted)
        told = await apart(self._house.plans.consumer, name, wanted)
        wishes = await self._house.wishes()
        if sum(one.start is not None for one in wishes.values()) >= MOST and name not in wishes:
            raise UsageError(
                f"{MOST} strategies were started already", hint="remove one: strategies stop NAME --remove"
            )
        if not await self._house.take(name):
            return None  # another was faster
        await self._house.wish(name, Wished(start=wanted.model_dump()))
        one = self._house.hosted.get(name)
        return None if one is None else await self._said(one) or f"reads {', '.join(told.read)} from now on"

    async def _stop(self, one: Hosted, name: str, *, remove: bool) -> str:
        if not one.labels:
            raise UsageError(f"{one.name} runs no strategies", hint=f"cryptostream consumers pause {one.name}")
        _check_whole(one, name)
        if not remove:
            return await self._turn(one, "paused")
        if one.planned.row.started_by == "configuration":
            raise UsageError(f'"{one.name}" stands in the configuration', hint="stop it without --remove")
        await self._house.wish(one.name, NOTHING)
        return "removed; its signals stay" if await one.settled(_SETTLES_S) else _UNFINISHED

    async def _turn(self, one: Hosted, state: Literal["running", "paused"]) -> str:
        if one.planned.is_paused == (state == "paused"):
            return "it was paused already" if state == "paused" else "it runs already"
        await self._house.wish(one.name, replace(await self._wished(one), state=state))
        return await self._said(one)

    async def _set(self, one: Hosted, name: str, given: Any) -> str:
        """New parameters beside those that it has."""
        label = _label(one, name)
        if not isinstance(given, Mapping) or not given or len(given) > _MOST_PARAMETERS:
            raise UsageError("names no parameters", hint="as in rsi_period=7")
        if AS in given:
            raise UsageError(f'"{AS}" names signals, and these have a name')
        now = one.planned.strategies[label]
        paths = self._house.plans.config.plugins.paths
        await apart(check, now._replace(params={**now.params, **given}), paths)
        kind = loading.find(now.name, paths=paths)
        if loading.fingerprint(kind, now.params) == loading.fingerprint(kind, {**now.params, **given}):
            return "it has these already"
        wished = await self._wished(one)
        mine = {**wished.parameters.get(label, {}), **given}
        await self._house.wish(one.name, replace(wished, parameters={**wished.parameters, label: mine}))
        others = [each for each in one.labels if each != label]
        also = f", and so do {', '.join(others)}" if others else ""
        return await self._said(one) or f"it begins anew, warmed up with what came before{also}"

    async def _wished(self, one: Hosted) -> Wished:
        return (await self._house.wishes()).get(one.name, NOTHING)

    async def _said(self, one: Hosted) -> str:
        """What there is to say of one that was just changed; empty where it is as it should be."""
        if not await one.settled(_SETTLES_S):
            return _UNFINISHED
        return one.row().why if one.row().state == "failed" else ""

    async def _whose(self, name: str) -> tuple[Hosted | None, bool]:
        """Who is so called here, and whether anybody is anywhere. What nobody runs any more is taken over."""
        wishes = await self._house.wishes()
        await self._house.settle(wishes)
        one = self._house.find(name)
        if one is not None:
            return one, True
        was_started = name in wishes and wishes[name].start is not None
        return None, was_started or name in names(await self._house.elsewhere())

    async def _meant(self, name: str) -> str:
        known = sorted(names([*self._house.rows(), *await self._house.elsewhere()]))
        return did_you_mean(name, known) or f"there are: {', '.join(known[:20]) or 'none'}"


def _named(name: str, wanted: shown.Start) -> shown.Start:
    return wanted.model_copy(update={"name": name})


def _label(one: Hosted, name: str) -> str:
    """Which of a consumer's strategies is meant by its name or that of the consumer. Raises UsageError."""
    if not one.labels:
        raise UsageError(f"{one.name} runs no strategies")
    if name in one.labels:
        return name
    if len(one.labels) > 1:
        raise UsageError(f"{one.name} runs {', '.join(one.labels)}", hint="say which of them")
    return one.labels[0]


def _check_whole(one: Hosted, name: str) -> None:
    """Raise UsageError for one of several strategies of a consumer: they read together, and cannot be told apart."""
    if name != one.name and len(one.labels) > 1:
        hint = f"cryptostream consumers pause {one.name} stops all of them; alone it needs a consumer of its own"
        raise UsageError(f"{name} runs in consumer {one.name} together with others", hint=hint)
