"""The page `market`."""

from nicegui import ui

from cryptostream.web.dashboard.frame import frame
from cryptostream.web.dashboard.markup import tag
from cryptostream.web.probes import Commands, Probes


def page(probes: Probes, commands: Commands) -> None:
    """Register it."""

    @ui.page("/")
    def shown() -> None:
        with frame(probes, "market"):
            told = tag("p")
            ui.timer(0.5, lambda: told.set_text(f"market: {len(probes.quotes())} pairs"))
