"""Wishes: what to follow, which strategies run and how. Each is a request that the running processes obey and answer.

An answer says of each symbol or name whether it was accepted, and why not. Its status is 200 where anything was, 409
where nothing was; 503 where nobody runs who could obey, 504 where nobody answered in time, who may still obey.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response

from cryptostream.errors import NotFound, UsageError
from cryptostream.registry import did_you_mean
from cryptostream.transforms.bars import parse_bars
from cryptostream.web import shown
from cryptostream.web.api import asked
from cryptostream.web.probes import Commands, Probes

_STRATEGIES, _CONSUMERS, _REALTIME = "/api/v1/strategies", "/api/v1/consumers", "/api/v1/realtime"
_ANSWERS: dict[int | str, dict[str, Any]] = {
    409: {"model": shown.Answered, "description": "All of it was refused."},
    503: {"model": shown.Failure, "description": "Nobody runs who could obey, or the bus is out of reach."},
    504: {"model": shown.Failure, "description": "Nobody answered in time; it may still be obeyed."},
}
_NAMED: dict[int | str, dict[str, Any]] = {404: {"model": shown.Failure, "description": "There is none of that name."}}
_UNWELL: dict[int | str, dict[str, Any]] = {503: {"model": shown.Realtime, "description": "Degraded."}}


def routes(probes: Probes, commands: Commands) -> APIRouter:
    """All wishes about what runs, and what they are about."""
    router = APIRouter()
    _watchlist(router, commands)
    _strategies(router, probes, commands)
    _consumers(router, probes, commands)
    return router


def _watchlist(router: APIRouter, commands: Commands) -> None:
    @router.post("/subscribe", summary="Follow these symbols, too", tags=["watchlist"], responses=_ANSWERS)
    async def subscribe(symbols: asked.Symbols, response: Response) -> shown.Answered:
        """A JSON list: `["BTCUSDT", "ETHUSDT"]`. Kept on the bus, so that it holds after a restart."""
        wanted = shown.Watchlist(add=asked.pairs(symbols))
        return _said(await commands.watchlist(wanted), response)

    @router.delete("/subscribe", summary="Follow these symbols no more", tags=["watchlist"], responses=_ANSWERS)
    async def unsubscribe(
        response: Response,
        body: Annotated[asked.Symbols | None, Body()] = None,
        symbols: Annotated[
            str | None, Query(max_length=35_000, description="Instead of a body: separated by commas.")
        ] = None,
    ) -> shown.Answered:
        """What is stored of them stays; no other pair has a gap of it."""
        wanted = asked.pairs(body or [word for word in (symbols or "").split(",") if word])
        if not 0 < len(wanted) <= shown.MOST:
            raise UsageError(f"{len(wanted)} symbols", hint=f"a JSON list of 1 to {shown.MOST}, or ?symbols=A,B")
        return _said(await commands.watchlist(shown.Watchlist(remove=wanted)), response)

    @router.post(f"{_REALTIME}/watchlist", summary="Change what is followed", tags=["watchlist"], responses=_ANSWERS)
    async def watchlist(wanted: shown.Watchlist, response: Response) -> shown.Answered:
        """`add` and `remove`, or `replace`: then these are followed and nothing else; or `reset`."""
        kinds = [bool(wanted.add or wanted.remove), wanted.replace is not None, wanted.reset]
        if sum(kinds) != 1:
            raise UsageError(
                "replace and reset stand alone" if any(kinds) else "nothing is wished for", hint='{"add": ["BTCUSDT"]}'
            )
        checked = shown.Watchlist(
            add=asked.pairs(wanted.add),
            remove=asked.pairs(wanted.remove),
            replace=None if wanted.replace is None else asked.pairs(wanted.replace),
            reset=wanted.reset,
        )
        if both := set(checked.add) & set(checked.remove):
            raise UsageError(f"{min(both)} is to be added and removed")
        return _said(await commands.watchlist(checked), response)


def _strategies(router: APIRouter, probes: Probes, commands: Commands) -> None:
    told: dict[str, Any] = {"tags": ["strategies"]}

    @router.get(_STRATEGIES, summary="Strategies that run, were stopped, or could be started", **told)
    async def strategies() -> Sequence[shown.Strategy]:
        return probes.strategies()

    @router.post(_STRATEGIES, summary="Start a strategy", responses=_ANSWERS, **told)
    async def start(wanted: shown.Start, response: Response) -> shown.Answered:
        """An installed one, by the name that `cryptostream list strategies` shows; a file or a module never.

        It runs in one of the processes that consume, and goes on after a restart.
        """
        for name in (wanted.strategy, *([] if wanted.name is None else [wanted.name])):
            asked.name(name)
        checked = wanted.model_copy(
            update={
                "symbols": asked.pairs(wanted.symbols),
                "bars": wanted.bars and parse_bars(wanted.bars).text,
                "parameters": asked.parameters(wanted.parameters),
            }
        )
        return _said(await commands.start(checked), response)

    @router.get(f"{_STRATEGIES}/{{name}}", summary="How a strategy is", responses=_NAMED, **told)
    async def strategy(name: asked.Name) -> shown.Strategy:
        return _found(name, probes.strategies())

    @router.post(f"{_STRATEGIES}/{{name}}/start", summary="Start it again", responses=_ANSWERS, **told)
    async def start_again(name: asked.Name, response: Response) -> shown.Answered:
        """One that was stopped goes on where it was; one that is only installed starts on all pairs."""
        kind = next((one.kind for one in probes.strategies() if one.name == name), name)
        return _said(await commands.start(shown.Start(strategy=kind, name=name)), response)

    @router.post(f"{_STRATEGIES}/{{name}}/stop", summary="Stop it", responses=_ANSWERS, **told)
    async def stop(name: asked.Name, response: Response) -> shown.Answered:
        """In order: what it has read is finished. What it remembers is kept."""
        return _said(await commands.stop(name), response)

    @router.get(f"{_STRATEGIES}/{{name}}/parameters", summary="Its parameters", responses=_NAMED, **told)
    async def parameters(name: asked.Name) -> dict[str, Any]:
        return _found(name, probes.strategies()).parameters

    @router.put(f"{_STRATEGIES}/{{name}}/parameters", summary="Change parameters", responses=_ANSWERS, **told)
    async def set_parameters(
        name: asked.Name,
        wanted: Annotated[dict[str, Any], Body(min_length=1, max_length=64, examples=[{"rsi_period": 21}])],
        response: Response,
    ) -> shown.Answered:
        """Those that are named; the others stay. It begins anew with them: what it remembered is forgotten."""
        checked = asked.parameters(wanted)
        return _said(await commands.parameters(name, checked), response)


def _consumers(router: APIRouter, probes: Probes, commands: Commands) -> None:
    told: dict[str, Any] = {"tags": ["consumers"]}

    @router.get(_CONSUMERS, summary="What consumes, and how far it is", **told)
    async def consumers() -> Sequence[shown.Consumer]:
        return probes.consumers()

    @router.get(
        f"{_REALTIME}/health", summary="Whether strategies and other consumers are well", responses=_UNWELL, **told
    )
    async def realtime_health(response: Response) -> shown.Realtime:
        """200 while `status` is ok, else 503 with the same body."""
        found = probes.realtime()
        response.status_code = 200 if found.status == "ok" else 503
        return found

    @router.get(f"{_REALTIME}/stats", summary="The whole way from sockets to groups", **told)
    async def realtime_stats() -> shown.Pipeline:
        """All processes together; `wrong` says what is wrong now."""
        return probes.pipeline()

    @router.post(f"{_CONSUMERS}/{{name}}/pause", summary="Pause a consumer", responses=_ANSWERS, **told)
    async def pause(name: asked.Name, response: Response) -> shown.Answered:
        """What it has read is finished and acknowledged; what comes waits in the stream, up to its bound."""
        return _said(await commands.pause(name), response)

    @router.post(f"{_CONSUMERS}/{{name}}/resume", summary="Resume a consumer", responses=_ANSWERS, **told)
    async def resume(name: asked.Name, response: Response) -> shown.Answered:
        """It goes on where it was."""
        return _said(await commands.resume(name), response)


def _found(name: str, known: Sequence[shown.Strategy]) -> shown.Strategy:
    for one in known:
        if one.name == name:
            return one
    raise NotFound(f"there is no strategy {name}", hint=did_you_mean(name, [one.name for one in known]))


def _said(answered: shown.Answered, response: Response) -> shown.Answered:
    if not any(verdict.accepted for verdict in answered.verdicts):
        response.status_code = 409
    return answered
