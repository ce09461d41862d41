"""The page `market`."""

from nicegui import ui

from cryptostream.web.probes import Commands, Probes


def page(probes: Probes, commands: Commands) -> None:
    """Register it."""

    @ui.page("/")
    def shown() -> None:
        told = ui.label("market")
        ui.timer(0.5, lambda: told.set_text(f"market: {len(probes.quotes())} pairs"))
