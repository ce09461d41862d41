"""The site at its address, behind its guard: what `serve` does, and what `run` does beside everything else."""

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from random import Random
from typing import Self

from pydantic import SecretStr
from starlette.types import ASGIApp

from cryptostream import logs
from cryptostream.config import Config
from cryptostream.engine.backoff import backoff
from cryptostream.engine.clock import SystemClock
from cryptostream.model.ports import Clock
from cryptostream.web import secret, server
from cryptostream.web.apart import Apart
from cryptostream.web.guard import Guard
from cryptostream.web.health import Watched, is_loopback
from cryptostream.web.rights import Rights
from cryptostream.wiring.serving.site import Site, site

DASHBOARD = "/dashboard/"
_KEPT = "web-secret"
_LONGEST_S = 60.0
_CLOCK = SystemClock()
_log = logs.get("web")


class Door:
    """Serves the API and the dashboard while it runs, on a bus connection of its own; a companion. `url` is where.

    `watched` is the ingest of the same process, whose metrics are shown too. What looks at the bus begins anew where it
    fails, while the door stays open.
    """

    def __init__(self, config: Config, taken: socket.socket, watched: Watched | None = None) -> None:
        self.url = server.url(taken)
        self._config = config
        self._watched = watched
        self._taken = taken
        self._host, self._port = taken.getsockname()[:2]
        self._dashboard = has_dashboard(config)

    async def __call__(self) -> None:
        """Serve until cancelled. Raises BusUnavailable, BusRefused, ConfigError."""
        try:
            async with site(self._config, watched=self._watched) as made, asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(_lasting(each, "web.look_failed")) for each in made.companions]
                application = _application(self._config, made, dashboard=self._dashboard)
                self._dashboard = False  # a process makes its pages once
                gc.freeze()  # to look for garbage among the web's libraries would hold up every answer for 0.1 s
                await server.Endpoint(application, self._taken, server.LASTING)()
                for task in beside:
                    task.cancel()
        finally:
            self.close()

    def again(self) -> Self:
        """The same at the same address, once it is closed; without a dashboard where it had one.

        Raises ConfigError while somebody else has the address.
        """
        other = type(self)(self._config, server.listening(self._host, self._port, server.SITE), self._watched)
        other._dashboard = self._dashboard
        return other

    def close(self) -> None:
        """Give the address back; for a door that never opened."""
        self._taken.close()


class Beside:
    """A door in a thread of its own, a companion: what ends it is told, ends nothing else, and it opens again."""

    def __init__(self, door: Door, clock: Clock = _CLOCK) -> None:
        self.url = door.url
        self._clock = clock
        self._door = door
        self._is_ended = False

    async def __call__(self) -> None:
        """Serve until cancelled."""
        await _lasting(self._serve, "web.ended", self._clock)

    def close(self) -> None:
        """Give the address back."""
        self._door.close()

    async def _serve(self) -> None:
        if self._is_ended:
            self._door = self._door.again()
        self._is_ended = True
        await Apart(self._door, name="serve")()


def door(config: Config, *, asked: bool, watched: Watched | None = None) -> Door | None:
    """A door whose address is taken from now on; None and a warning where nobody had `asked` for a port that is taken.

    Raises ConfigError.
    """
    taken = server.unless_taken(config.serve.host, config.serve.port, server.SITE, asked=asked)
    return Door(config, taken, watched) if taken else None


def has_dashboard(config: Config) -> bool:
    """Whether there is a dashboard: it is wished for, and the extra is installed."""
    return config.serve.dashboard and find_spec("nicegui") is not None


def _application(config: Config, made: Site, *, dashboard: bool) -> ASGIApp:
    from cryptostream.web import site as web

    clock, key, told = SystemClock(), secret.kept(config.data_dir / _KEPT), config.serve
    rights = Rights(clock, token=_revealed(told.token), read_token=_revealed(told.read_token), secret=key)
    application = web.make(made.probes, made.commands, secret=key, dashboard=dashboard, docs=is_loopback(told.host))
    guard = Guard(application, rights, clock, host=told.host)
    made.probes.answers = guard.answers
    return guard


def _revealed(token: SecretStr | None) -> str | None:
    return token.get_secret_value() if token else None


async def _lasting(work: Callable[[], Awaitable[None]], event: str, clock: Clock = _CLOCK) -> None:
    """Work that is begun anew after a while when it has ended, which is told and ends nothing else."""
    delays = backoff(Random(), cap_s=_LONGEST_S)  # noqa: S311 - jitter, not a secret
    next(delays)
    while True:
        began_s, why = clock.monotonic(), "it has ended by itself"
        try:
            await work()
        except Exception as error:  # whatever is wrong with a page or a look, everything else goes on
            why = _first(error)
        delay_s = delays.send(clock.monotonic() - began_s)
        _log.error(event, why=why, again_in_s=round(delay_s, 1))
        await clock.sleep(delay_s)


def _first(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
