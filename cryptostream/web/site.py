"""Everything that `serve` answers, as one ASGI application: the API, what describes it, reports, the dashboard."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from cryptostream.engine.clock import SystemClock
from cryptostream.model.ports import Clock
from cryptostream.web import reports, shown
from cryptostream.web.api import control, described, errors, market, page, status, streaming, work
from cryptostream.web.probes import Commands, Probes

DASHBOARD = "/dashboard/"
_CLOCK = SystemClock()


def make(
    probes: Probes,
    commands: Commands,
    *,
    secret: str,
    dashboard: bool = True,
    docs: bool = True,
    clock: Clock = _CLOCK,
) -> FastAPI:
    """The application; without `docs` nothing describes it, for where others than this machine can ask.

    Nothing here asks who it is that asks: see `web.guard`.
    """
    app = FastAPI(
        openapi_url="/openapi.json" if docs else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    errors.install(app)
    described.describe(app)
    _front(app, probes, dashboard=dashboard, docs=docs)
    app.include_router(status.routes(probes))
    app.include_router(market.routes(probes, clock))
    app.include_router(streaming.routes(probes, clock))
    app.include_router(control.routes(probes, commands))
    app.include_router(work.routes(probes, commands))
    app.include_router(reports.routes(probes))
    if dashboard:
        from cryptostream.web.dashboard import site

        site.mount(app, probes, commands, secret=secret)
    return app


def _front(app: FastAPI, probes: Probes, *, dashboard: bool, docs: bool) -> None:
    @app.get("/", summary="What answers here", tags=["status"], response_model=shown.About)
    async def about(request: Request) -> shown.About | Response:
        """Its version, what runs on this bus, and every path. A browser is sent on to the dashboard."""
        if dashboard and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(DASHBOARD, 303, {"vary": "accept"})
        where = {
            "paths": sorted(app.openapi()["paths"]),
            "dashboard": DASHBOARD if dashboard else None,
            "docs": "/docs" if docs else None,
        }
        return probes.about().model_copy(update=where)

    if docs:

        @app.get("/docs", include_in_schema=False)
        async def docs_page() -> Response:
            return Response(page.page(app.openapi()), media_type="text/html")
