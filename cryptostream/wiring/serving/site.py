"""All that is served, made of a configuration: a bus of its own, what looks at it, and the application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cryptostream.config import Config
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.runtime import Companion
from cryptostream.web.health import Watched
from cryptostream.wiring.basics import bus, keys
from cryptostream.wiring.serving.board import Board
from cryptostream.wiring.serving.commands import BusCommands
from cryptostream.wiring.serving.jobs import Jobs
from cryptostream.wiring.serving.probes import BusProbes
from cryptostream.wiring.serving.reports import Reports


@dataclass(frozen=True)
class Site:
    """Probes and commands, and the companions that keep them up to date."""

    probes: BusProbes
    commands: BusCommands
    companions: list[Companion]


@asynccontextmanager
async def site(config: Config, *, watched: Watched | None = None) -> AsyncIterator[Site]:
    """`watched` is the ingest that runs in the same process, so that its metrics are shown too.

    Raises BusUnavailable, BusRefused.
    """
    async with bus(config) as on:
        board, jobs = Board(on, SystemClock(), keys(config)), Jobs(config, Reports(config), SystemClock())
        yield Site(BusProbes(config, on, board, jobs, watched), BusCommands(on, jobs), [board, jobs])
