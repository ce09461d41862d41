"""The page `backtests`."""

from nicegui import ui

from cryptostream.web.probes import Commands, Probes


def page(probes: Probes, commands: Commands) -> None:
    """Register it."""

    @ui.page("/backtests")
    def shown() -> None:
        told = ui.label("backtests")
        ui.timer(0.5, lambda: told.set_text(f"backtests: {len(probes.quotes())} pairs"))
