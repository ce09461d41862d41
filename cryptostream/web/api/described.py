"""The OpenAPI of it all: what FastAPI reads off the routes, what guards every path, and examples."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cryptostream import __version__
from cryptostream.web.api.examples import EXAMPLES

TAGS = {
    "status": "What runs and how it is. Answered from memory.",
    "market": "What the market did, and what strategies make of it.",
    "streaming": "What comes, as it comes.",
    "watchlist": "What is followed.",
    "strategies": "Strategies that run, and how.",
    "consumers": "Consumer groups and those who work for them.",
    "dead letters": "What nobody could handle.",
    "backtests": "Strategies over what the bus or a folder holds.",
}
ABOUT = (
    "Market data, signals and control of one bus. Prices and quantities of trades are the venue's own text; times are "
    "UTC; what is unknown is null, never zero. An error has the body `Failure`, a refused wish `Answered`.\n\n"
    "Where a token is set, send it as `Authorization: Bearer ...`: `serve.read_token` reads, `serve.token` writes, "
    "too; `/health` alone is answered without. Bodies are JSON of at most 64 KiB; lists hold at most 500; at most 20 "
    "writes a minute."
)
_WRITES = ("post", "put", "delete")
_REFUSALS = {
    "400": "The body cannot be read.",
    "401": "The token is missing or wrong.",
    "403": "The token may not write, or the request comes from a page of another origin.",
    "408": "The body did not come in time.",
    "413": "The body is larger than 64 KiB.",
    "415": "The body is not JSON.",
    "421": "Not for this host.",
    "422": "What was asked does not fit; says what.",
    "429": "Too many requests; `Retry-After` says when again.",
    "500": "Our fault; the log says more.",
    "503": "The bus is out of reach.",
}
_OF_ALL, _OF_WRITES = ("401", "421", "429", "500"), ("400", "403", "408", "413", "415")


def describe(app: FastAPI) -> None:
    """Let an application tell this description of itself, made when it is first asked."""
    app.openapi = lambda: _made(app)  # type: ignore[method-assign]


def _made(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(
            title="cryptostream",
            version=__version__,
            description=ABOUT,
            routes=app.routes,
            tags=[{"name": name, "description": told} for name, told in TAGS.items()],
        )
        _protect(made)
        _exemplify(made["components"]["schemas"])
        app.openapi_schema = made
    return app.openapi_schema


def _protect(made: dict[str, Any]) -> None:
    """What the guard asks of everybody, and how it refuses."""
    parts = made["components"]
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "description": "`serve.token`"}}
    parts["responses"] = {f"Refused{status}": _refusal(why) for status, why in _REFUSALS.items()}
    made["security"] = [{"token": []}, {}]
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            asks = operation.get("parameters") or operation.get("requestBody")
            for status in (*_OF_ALL, *(_OF_WRITES if method in _WRITES else ()), *(("422",) if asks else ())):
                operation["responses"][status] = {"$ref": f"#/components/responses/Refused{status}"}
            if path.startswith("/api/") or method in _WRITES:
                operation["responses"].setdefault("503", {"$ref": "#/components/responses/Refused503"})
    health = made["paths"]["/health"]["get"]
    health["security"] = [{}]
    del health["responses"]["401"]
    for unused in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(unused, None)


def _refusal(why: str) -> dict[str, Any]:
    body = {"schema": {"$ref": "#/components/schemas/Failure"}}
    return {"description": why, "content": {"application/json": body}}


def _exemplify(schemas: Mapping[str, dict[str, Any]]) -> None:
    for body in EXAMPLES:
        if type(body).__name__ in schemas:
            schemas[type(body).__name__]["examples"] = [body.model_dump(mode="json", exclude_unset=True)]
