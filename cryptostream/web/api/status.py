"""What runs and how it is: answered from memory, so that whoever asks every second costs nothing."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from cryptostream.web import shown
from cryptostream.web.api import asked
from cryptostream.web.health import without_addresses
from cryptostream.web.probes import Probes

_QUOTES = TypeAdapter(list[shown.Quote])
_STREAMS = TypeAdapter(list[shown.Stream])
_GROUPS = TypeAdapter(list[shown.Group])
_ALL_SYMBOLS = asked.STREAMS_MOST * 200
_NOT_FOLLOWED = "quiet"


def routes(probes: Probes) -> APIRouter:
    """The first thing that anybody asks, and what scrapers do."""
    router = APIRouter(tags=["status"])

    @router.get(
        "/health", summary="Whether all is well", responses={503: {"model": shown.Health, "description": "Degraded."}}
    )
    async def health(response: Response) -> shown.Health:
        """200 while `status` is ok, else 503 with the same body, whose `reasons` say why, without any address."""
        found = probes.health()
        response.status_code = 200 if found.status == "ok" else 503
        return found.model_copy(update={"reasons": [without_addresses(why) for why in found.reasons]})

    @router.get("/stats", summary="All counters")
    async def stats() -> dict[str, Any]:
        """In the shape of `cryptostream stats -o json`, all processes together."""
        return dict(probes.stats())

    @router.get("/pairs", summary="Every pair now", response_model=list[shown.Quote])
    async def pairs(
        symbols: Annotated[
            str | None,
            Query(max_length=_ALL_SYMBOLS, description="Only these, separated by commas.", examples=["BTCUSDT"]),
        ] = None,
        spark: Annotated[bool, Query(description="With the prices of a small chart.")] = False,
    ) -> Response:
        """The newest trade, the change since the oldest known of the last 24 hours, and how many trades a second."""
        found = probes.quotes() if symbols is None else _only(probes.quotes(), asked.pairs(symbols.split(",")))
        without = None if spark else {"__all__": {"spark"}}
        return _json(_QUOTES.dump_json(list(found), exclude=without))

    @router.get("/symbols", summary="What is followed")
    async def symbols() -> list[str]:
        """The pairs that ingesters follow now, as `POST /subscribe` takes them; of other venues `kraken:BTCUSD`."""
        return [_named(one) for one in probes.quotes() if one.state != _NOT_FOLLOWED]

    @router.get("/streams", summary="What each stream holds", response_model=list[shown.Stream])
    async def streams() -> Response:
        return _json(_STREAMS.dump_json(list(probes.streams())))

    @router.get("/groups", summary="How far consumer groups are", response_model=list[shown.Group])
    async def groups() -> Response:
        return _json(_GROUPS.dump_json(list(probes.groups())))

    @router.get("/metrics", summary="For Prometheus", response_class=_Metrics)
    async def metrics(request: Request) -> Response:
        body, kind = probes.metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": kind})

    return router


class _Metrics(Response):
    media_type = "text/plain"


def _json(body: bytes) -> Response:
    """Written at once: nothing looks again at a thousand quotes that are typed already."""
    return Response(body, media_type="application/json")


def _only(quotes: Sequence[shown.Quote], wanted: Sequence[str]) -> list[shown.Quote]:
    return [one for one in quotes if one.pair in wanted or f"{one.exchange}:{one.pair}" in wanted]


def _named(one: shown.Quote) -> str:
    """A pair as its stream names it, which is where its venue stands if it is not the default one."""
    return f"{one.exchange}:{one.pair}" if f":{one.exchange}:" in one.stream else one.pair
