"""Pages of backtests, each in a sandbox of its own: their scripts run, and reach neither the API nor its cookies."""

from fastapi import APIRouter
from fastapi.responses import FileResponse

from cryptostream.web.probes import Probes

POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's own policy, by the hashes of its scripts, holds besides."""
PREFIX = "/reports/"


def routes(probes: Probes) -> APIRouter:
    """`/reports/NAME`."""
    router = APIRouter()

    @router.get(PREFIX + "{name}", response_class=FileResponse, include_in_schema=False)
    async def report(name: str) -> FileResponse:
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
        return FileResponse(await probes.page(name), media_type="text/html; charset=utf-8", headers=headers)

    return router
