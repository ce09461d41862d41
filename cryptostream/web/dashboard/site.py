"""The dashboard as a part of an application: its pages, and the files they need."""

from typing import Any

from fastapi import FastAPI, Request, Response
from nicegui import app as pages
from nicegui import ui

from cryptostream.web.api.errors import failure
from cryptostream.web.dashboard import MOUNTED, backtests, market, pipeline
from cryptostream.web.dashboard.rights import Rightful
from cryptostream.web.dashboard.view import ASSETS
from cryptostream.web.probes import Commands, Probes

__all__ = ["MOUNTED", "mount"]

_HISTORY = 100
"""Messages that are kept for a browser that comes back; a page asks for the whole where one is missing."""


def mount(app: FastAPI, probes: Probes, commands: Commands, *, secret: str) -> None:
    """Add the pages to an application, once in a process. `secret` signs the cookies of sessions."""
    pages.add_static_files("/assets", ASSETS)
    pages.add_exception_handler(404, _unknown)  # NiceGUI's own is a page, which costs the server as much as any
    commands = Rightful(commands)
    market.page(probes, commands)
    pipeline.page(probes, commands)
    backtests.page(probes, commands)
    ui.run_with(
        app,
        mount_path=MOUNTED,
        title="cryptostream",
        favicon=ASSETS / "icon.svg",
        dark=None,
        tailwind=False,
        storage_secret=secret,
        show_welcome_message=False,
        binding_refresh_interval=None,
        message_history_length=_HISTORY,
    )


async def _unknown(_request: Request, _error: Any) -> Response:
    return failure(404, "there is no such page", f"see {MOUNTED}/")
