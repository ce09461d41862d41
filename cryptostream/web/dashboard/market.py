"""The page of the market: what is followed, one pair's candles and trades, signals, and who gives them."""

from collections.abc import Awaitable, Callable
from functools import partial

from nicegui import ui
from pydantic import ValidationError

from cryptostream.errors import CryptostreamError
from cryptostream.web import shown
from cryptostream.web.dashboard.frame import frame
from cryptostream.web.dashboard.rights import may_write
from cryptostream.web.dashboard.telling import Message, Wish
from cryptostream.web.dashboard.verdicts import failed, verdicts
from cryptostream.web.dashboard.view import ASSETS, MODULES, Page, View, linked
from cryptostream.web.dashboard.watching import INTERVALS, Watching, symbols
from cryptostream.web.probes import Commands, Probes

_EVERY_S = 0.3

Ask = Callable[[], Awaitable[shown.Answered]]


class MarketView(View, component=str(ASSETS / "market.js"), esm=MODULES):
    """The page's body."""

    def __init__(self) -> None:
        super().__init__()
        self.props["intervals"] = INTERVALS


class _Page(Page):
    def __init__(self, probes: Probes, commands: Commands, pair: str) -> None:
        self._commands = commands
        self._busy = False
        self._watching = Watching(probes, may_write=may_write())
        if pair:
            self._watching.choose(pair)
        super().__init__(MarketView(), self._watching, every_s=_EVERY_S)

    async def wished(self, kind: str, wish: Wish) -> None:
        """Another pair or interval to watch, or a command."""
        if kind == "watch":
            await self._telling.tell(partial(self._watch, wish))
        elif kind == "hold":
            self._watching.hold()
        elif (ask := self._asked(kind, wish)) is not None:
            self._view.send({"answer": await self._answer(kind, ask)})

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
    """What became of a wish."""
    try:
        return {"to": kind, **await verdicts(ask())}
    except CryptostreamError as error:
        return {"to": kind, **failed(error)}
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        return {"to": kind, "failed": _first(error)}


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:3])
    return "that cannot be read"


def _interval(wish: Wish) -> str:
    interval = wish.get("interval")
    return interval if interval in (*INTERVALS, "auto") else ""
