"""The dashboard as a part of an application: its pages, and the frame around them."""

from fastapi import FastAPI
from nicegui import ui

from cryptostream.web.dashboard import backtests, market, pipeline
from cryptostream.web.probes import Commands, Probes

MOUNTED = "/dashboard"


def mount(app: FastAPI, probes: Probes, commands: Commands, *, secret: str) -> None:
    """Add the pages to an application, once in a process. `secret` signs the cookies of sessions."""
    market.page(probes, commands)
    pipeline.page(probes, commands)
    backtests.page(probes, commands)
    ui.run_with(
        app,
        mount_path=MOUNTED,
        title="cryptostream",
        dark=None,
        tailwind=False,
        storage_secret=secret,
        show_welcome_message=False,
    )
