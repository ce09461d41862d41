"""A page's body in the browser, which is told what has changed and sends wishes back; and the files it is made of."""

from abc import ABC, abstractmethod
from pathlib import Path

from nicegui import ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from cryptostream import __version__
from cryptostream.web.dashboard import MOUNTED
from cryptostream.web.dashboard.telling import Message, Telling, Watched, Wish

ASSETS = Path(__file__).parent / "assets"
MODULES = {"cryptostream": str(ASSETS)}
"""What the scripts of a page import from `cryptostream/`."""


class View(Element):
    """It takes messages in their order, and asks for the whole if it missed one."""

    def __init__(self) -> None:
        super().__init__()
        self._sent = 0

    def send(self, message: Message) -> None:
        """Tell it what has changed: as data, in a tuple, which is not watched for changes of its parts."""
        self._sent += 1
        waiting = self.props.get("messages", ()) if self.id in self.client.outbox.updates else ()
        self.props["messages"] = (*waiting, {**message, "n": self._sent})


class Page(ABC):
    """One browser's page: its view is told every so often what has changed, and what it wishes is done."""

    def __init__(self, view: View, watched: Watched, *, every_s: float) -> None:
        self._view = view
        self._telling = Telling(watched, view.send)
        view.on("wish", self._heard)
        ui.timer(every_s, self._telling.tell)

    async def _heard(self, event: GenericEventArguments) -> None:
        wish = event.args if isinstance(event.args, dict) else {}
        kind = str(wish.get("wish"))
        if kind == "whole":
            await self._telling.tell(self._telling.forget)
        else:
            await self.wished(kind, wish)

    @abstractmethod
    async def wished(self, kind: str, wish: Wish) -> None:
        """Do what is wished for, which may be nonsense: it came from a browser."""


def linked(name: str) -> str:
    """What a page's head says of one of the style sheets."""
    return f'<link rel="stylesheet" href="{MOUNTED}/assets/{name}?v={__version__}">'
