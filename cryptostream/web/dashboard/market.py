"""The page of the market: what is followed, one pair's candles and trades, signals, and who gives them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments
from pydantic import ValidationError

from cryptostream.errors import CryptostreamError
from cryptostream.web import shown
from cryptostream.web.dashboard.frame import frame
from cryptostream.web.dashboard.rights import may_write
from cryptostream.web.dashboard.view import ASSETS, MODULES, View, linked
from cryptostream.web.dashboard.watching import INTERVALS, Message, Watching, symbols
from cryptostream.web.probes import Commands, Probes

_EVERY_S = 0.3

Wish = Mapping[str, Any]
Ask = Callable[[], Awaitable[shown.Answered]]


class MarketView(View, component=str(ASSETS / "market.js"), esm=MODULES):
    """The page's body."""

    def __init__(self) -> None:
        super().__init__()
        self.props["intervals"] = INTERVALS


class _Page:
    """One browser's page: its timer, and what its buttons ask for."""

    def __init__(self, probes: Probes, commands: Commands, pair: str) -> None:
        self._commands = commands
        self._busy = False
        self._watching = Watching(probes, may_write=may_write())
        if pair:
            self._watching.choose(pair)
        self._view = MarketView()
        self._view.on("wish", self._wished)
        self._one_by_one = asyncio.Lock()
        ui.timer(_EVERY_S, self._tell)

    async def _tell(self) -> None:
        async with self._one_by_one:
            await self._tell_now()

    async def _tell_now(self) -> None:
        message = None
        try:
            message = await self._watching.message()
        finally:
            if message is None:
                self._watching.forget()  # what was not sent is not known
        if message:
            self._view.send(message)

    async def _wished(self, event: GenericEventArguments) -> None:
        wish = event.args if isinstance(event.args, dict) else {}
        kind = wish.get("wish")
        if kind in ("watch", "whole"):
            async with self._one_by_one:
                self._watch(wish)
                await self._tell_now()
        elif (ask := self._asked(str(kind), wish)) is not None:
            self._view.send({"answer": await self._answer(str(kind), ask)})

    async def _answer(self, kind: str, ask: Ask) -> Message:
        """One wish at a time."""
        if self._busy:
            return {"to": kind, "failed": "one after the other: the last wish has no answer yet"}
        self._busy = True
        try:
            return await answered(kind, ask)
        finally:
            self._busy = False

    def _watch(self, wish: Wish) -> None:
        if wish.get("wish") == "whole":
            self._watching.forget()
        else:
            self._watching.choose(str(wish.get("pair") or self._watching.pair)[:80], _interval(wish))

    def _asked(self, kind: str, wish: Wish) -> Ask | None:
        """What to ask for, made only when it is asked for, because a wish may be nonsense."""
        commands = self._commands
        asks: dict[str, Ask] = {
            "add": lambda: commands.watchlist(shown.Watchlist(add=symbols(str(wish["text"])))),
            "remove": lambda: commands.watchlist(shown.Watchlist(remove=symbols(str(wish["text"])))),
            "start": lambda: commands.start(shown.Start.model_validate(wish["start"])),
            "stop": partial(commands.stop, str(wish.get("name"))),
            "parameters": lambda: commands.parameters(str(wish["name"]), dict(wish["parameters"])),
        }
        return asks.get(kind)


def page(probes: Probes, commands: Commands) -> None:
    """Register it."""

    @ui.page("/")
    def market(pair: str = "") -> None:
        ui.add_head_html(linked("market.css"))
        with frame(probes, "market"):
            _Page(probes, commands, pair[:80])


async def answered(kind: str, ask: Ask) -> Message:
    """What became of a wish: a verdict for each part, or why there is none."""
    try:
        answer = await ask()
    except CryptostreamError as error:
        return {"to": kind, "failed": " - ".join(filter(None, (str(error), error.hint)))}
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        return {"to": kind, "failed": _first(error)}
    return {"to": kind, "verdicts": _verdicts(answer), "unanswered": answer.unanswered}


def _verdicts(answer: shown.Answered) -> Sequence[Mapping[str, Any]]:
    return [verdict.model_dump(include={"what", "accepted", "why"}) for verdict in answer.verdicts]


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:3])
    return "that cannot be read"


def _interval(wish: Wish) -> str:
    interval = wish.get("interval")
    return interval if interval in (*INTERVALS, "auto") else ""
