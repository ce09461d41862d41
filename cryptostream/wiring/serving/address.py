"""The site at its address, behind its guard: what `serve` does, and what `run` does beside everything else."""

import asyncio
import gc
import socket
from importlib.util import find_spec

from pydantic import SecretStr
from starlette.types import ASGIApp

from cryptostream import logs
from cryptostream.config import Config
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.runtime import Companion
from cryptostream.web import secret, server
from cryptostream.web.apart import Apart
from cryptostream.web.guard import Guard
from cryptostream.web.health import Watched, is_loopback
from cryptostream.web.rights import Rights
from cryptostream.wiring.serving.site import Site, site

DASHBOARD = "/dashboard/"
_KEPT = "web-secret"
_log = logs.get("web")


class Door:
    """Serves the API and the dashboard while it runs, on a bus connection of its own; a companion. `url` is where.

    `watched` is the ingest of the same process, whose metrics are shown too.
    """

    def __init__(self, config: Config, taken: socket.socket, watched: Watched | None = None) -> None:
        self.url = server.url(taken)
        self._config = config
        self._watched = watched
        self._taken = taken

    async def __call__(self) -> None:
        """Serve until cancelled. Raises BusUnavailable, BusRefused, ConfigError."""
        try:
            async with site(self._config, watched=self._watched) as made, asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(_endless(companion)) for companion in made.companions]
                application = _application(self._config, made)
                gc.freeze()  # to look for garbage among the web's libraries would hold up every answer for 0.1 s
                await server.Endpoint(application, self._taken, server.LASTING)()
                for task in beside:
                    task.cancel()
        finally:
            self.close()

    def close(self) -> None:
        """Give the address back; for a door that never opened."""
        self._taken.close()


class Beside:
    """A door in a thread of its own, a companion: what ends it is told, and ends nothing else."""

    def __init__(self, door: Door) -> None:
        self.url = door.url
        self._apart = Apart(door, name="serve")

    async def __call__(self) -> None:
        """Serve until cancelled."""
        try:
            await self._apart()
        except Exception as error:  # whatever is wrong with a page, feeds and consumers go on
            _log.error("web.ended", why=_first(error))

    def close(self) -> None:
        """Give the address back."""
        self._apart.close()


def door(config: Config, *, asked: bool, watched: Watched | None = None) -> Door | None:
    """A door whose address is taken from now on; None and a warning where nobody had `asked` for a port that is taken.

    Raises ConfigError.
    """
    taken = server.unless_taken(config.serve.host, config.serve.port, server.SITE, asked=asked)
    return Door(config, taken, watched) if taken else None


def has_dashboard(config: Config) -> bool:
    """Whether there is a dashboard: it is wished for, and the extra is installed."""
    return config.serve.dashboard and find_spec("nicegui") is not None


def _application(config: Config, made: Site) -> ASGIApp:
    from cryptostream.web import site as web

    clock, key, told = SystemClock(), secret.kept(config.data_dir / _KEPT), config.serve
    rights = Rights(clock, token=_revealed(told.token), read_token=_revealed(told.read_token), secret=key)
    application = web.make(
        made.probes, made.commands, secret=key, dashboard=has_dashboard(config), docs=is_loopback(told.host)
    )
    guard = Guard(application, rights, clock, host=told.host)
    made.probes.answers = guard.answers
    return guard


def _revealed(token: SecretStr | None) -> str | None:
    return token.get_secret_value() if token else None


async def _endless(companion: Companion) -> None:
    await companion()


def _first(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
