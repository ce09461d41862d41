"""The page `pipeline`."""

from nicegui import ui

from cryptostream.web.probes import Commands, Probes


def page(probes: Probes, commands: Commands) -> None:
    """Register it."""

    @ui.page("/pipeline")
    def shown() -> None:
        told = ui.label("pipeline")
        ui.timer(0.5, lambda: told.set_text(f"pipeline: {len(probes.quotes())} pairs"))
