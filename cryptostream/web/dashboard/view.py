"""A page's body in the browser: one element that is told what has changed, and the files that it is made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nicegui.element import Element

from cryptostream import __version__
from cryptostream.web.dashboard import MOUNTED

ASSETS = Path(__file__).parent / "assets"
MODULES = {"cryptostream": str(ASSETS)}
"""What the scripts of a page import from `cryptostream/`."""


class View(Element):
    """It takes messages in their order, and asks for the whole if it missed one."""

    def __init__(self) -> None:
        super().__init__()
        self._sent = 0

    def send(self, message: Mapping[str, Any]) -> None:
        """Tell it what has changed: as data, in a tuple, which is not watched for changes of its parts."""
        self._sent += 1
        waiting = self.props.get("messages", ()) if self.id in self.client.outbox.updates else ()
        self.props["messages"] = (*waiting, {**message, "n": self._sent})


def linked(name: str) -> str:
    """What a page's head says of one of the style sheets."""
    return f'<link rel="stylesheet" href="{MOUNTED}/assets/{name}?v={__version__}">'
