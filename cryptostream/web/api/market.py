"""What the market did: trades, bars, and what strategies make of them."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query

from cryptostream.model.ports import Clock
from cryptostream.transforms.bars import parse_bars
from cryptostream.web import shown
from cryptostream.web.api import asked
from cryptostream.web.probes import Probes

_OF_PAIR: dict[int | str, dict[str, Any]] = {
    404: {"model": shown.Failure, "description": "There is no such pair here."}
}
_REALTIME = "/api/v1/realtime"
_Strategy = Annotated[str | None, Query(pattern=shown.NAME, description="Of this one only.", examples=["momentum"])]
_Interval = Annotated[
    str,
    Query(max_length=32, description="1s, 5m, 1h30m, 1w, 1M; tick:100, volume:10.5, dollar:1e6.", examples=["1m"]),
]


def routes(probes: Probes, clock: Clock) -> APIRouter:
    """Reads of the bus; of a pair that nobody has written there is none, and they say so."""
    router = APIRouter(tags=["market"])

    @router.get("/api/v1/trades/{pair}", summary="Trades of a pair, oldest first", responses=_OF_PAIR)
    async def trades(
        pair: asked.Pair,
        since: asked.Since = None,
        until: asked.Until = None,
        limit: asked.Limit = 100,
    ) -> Sequence[shown.Trade]:
        """The first `limit` from `since` on, else the newest. To go on, ask from the last one's time; ids tell which
        are known. Holes stand where they are, as `kind: gap`.
        """
        since_ms, until_ms = asked.span(since, until, clock)
        return await probes.trades(pair, since_ms=since_ms, until_ms=until_ms, limit=limit)

    @router.get("/api/v1/bars/{pair}", summary="Candles of a pair, oldest first", responses=_OF_PAIR)
    async def bars(
        pair: asked.Pair,
        interval: _Interval = "1m",
        since: asked.Since = None,
        until: asked.Until = None,
        limit: asked.Limit = shown.MOST,
    ) -> Sequence[shown.Bar]:
        """The newest `limit`, the open one last; klines where the bus has them, else built from trades."""
        since_ms, until_ms = asked.span(since, until, clock)
        spec = parse_bars(interval)
        return await probes.bars(pair, spec.text, since_ms=since_ms, until_ms=until_ms, limit=limit)

    @router.get(
        f"{_REALTIME}/indicators/{{symbol}}", summary="The newest indicator values of a pair", responses=_OF_PAIR
    )
    async def indicators(symbol: asked.Pair) -> Sequence[shown.Indicators]:
        """By the strategy that computes them, for each interval that has any."""
        return await probes.indicators(symbol)

    @router.get(f"{_REALTIME}/signals", summary="The newest signals of all pairs, oldest first")
    async def signals(
        strategy: _Strategy = None, since: asked.Since = None, limit: asked.Limit = 100
    ) -> Sequence[shown.Signal]:
        since_ms, _ = asked.span(since, None, clock)
        return await probes.signals(None, strategy=strategy, since_ms=since_ms, limit=limit)

    @router.get(
        f"{_REALTIME}/signals/{{symbol}}", summary="The newest signals of a pair, oldest first", responses=_OF_PAIR
    )
    async def signals_of_pair(
        symbol: asked.Pair, strategy: _Strategy = None, since: asked.Since = None, limit: asked.Limit = 100
    ) -> Sequence[shown.Signal]:
        since_ms, _ = asked.span(since, None, clock)
        return await probes.signals(symbol, strategy=strategy, since_ms=since_ms, limit=limit)

    return router
