"""Everything that `serve` answers, as one ASGI application."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from cryptostream.web import shown
from cryptostream.web.probes import Commands, Probes


def make(probes: Probes, commands: Commands, *, secret: str, dashboard: bool = True) -> ASGIApp:
    """The application."""
    app = FastAPI(title="cryptostream")

    @app.get("/")
    def about() -> shown.About:
        return probes.about()

    @app.get("/health")
    def health() -> shown.Health:
        return probes.health()

    @app.get("/pairs")
    def pairs() -> list[shown.Quote]:
        return list(probes.quotes())

    if dashboard:
        from cryptostream.web.dashboard import site

        site.mount(app, probes, commands, secret=secret)
    return app
