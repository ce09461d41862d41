"""Commands as the reader of a page may give them: no more a minute than over HTTP, and none with a token that reads."""

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import UsageError
from cryptostream.model.ports import Clock
from cryptostream.web import shown
from cryptostream.web.guard import MAY_WRITE, Limits
from cryptostream.web.probes import Commands
from cryptostream.web.rates import Rates

_PER_MINUTE = Limits().writes_per_minute
_CLOCK = SystemClock()


class Rightful:
    """See `web.probes.Commands`. Raises UsageError for what may not be; asked where a page's events run."""

    def __init__(self, commands: Commands, clock: Clock = _CLOCK) -> None:
        self._commands = commands
        self._writes = Rates(clock, per_s=_PER_MINUTE / 60, burst=_PER_MINUTE)

    async def watchlist(self, wanted: shown.Watchlist) -> shown.Answered:
        return await self._given().watchlist(wanted)

    async def start(self, wanted: shown.Start) -> shown.Answered:
        return await self._given().start(wanted)

    async def stop(self, name: str) -> shown.Answered:
        return await self._given().stop(name)

    async def parameters(self, name: str, parameters: Mapping[str, Any]) -> shown.Answered:
        return await self._given().parameters(name, parameters)

    async def pause(self, consumer: str) -> shown.Answered:
        return await self._given().pause(consumer)

    async def resume(self, consumer: str) -> shown.Answered:
        return await self._given().resume(consumer)

    async def retry(self, queue: str, ids: Sequence[str]) -> shown.Retried:
        return await self._given().retry(queue, ids)

    async def backtest(self, wanted: shown.Backtest) -> shown.Job:
        return await self._given().backtest(wanted)

    def _given(self) -> Commands:
        if not may_write():
            raise UsageError("this token may only read", hint="serve.token may; serve.read_token opened this page")
        if wait_s := self._writes.wait_s(ui.context.client.ip):
            raise UsageError(f"more than {_PER_MINUTE} commands a minute", hint=f"again in {wait_s:.0f} s")
        return self._commands


def may_write() -> bool:
    """Whether the reader of the page at hand may give commands, as the guard has found when the page was asked for."""
    return bool(ui.context.client.request.scope.get("state", {}).get(MAY_WRITE, False))
