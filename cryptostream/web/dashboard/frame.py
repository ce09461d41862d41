"""What is around every page: where one is, where one can go, the colours, and what is wrong now."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from cryptostream import __version__
from cryptostream.web import shown
from cryptostream.web.dashboard import MOUNTED
from cryptostream.web.dashboard.markup import tag
from cryptostream.web.dashboard.view import linked
from cryptostream.web.probes import Probes

Here = Literal["market", "pipeline", "backtests"]

_PAGES: dict[Here, tuple[str, str]] = {
    "market": ("Market", f"{MOUNTED}/"),
    "pipeline": ("Pipeline", f"{MOUNTED}/pipeline"),
    "backtests": ("Backtests", f"{MOUNTED}/backtests"),
}
_EVERY_S = 1.0
_HEAD = f"""
{linked("dashboard.css")}
<script src="{MOUNTED}/assets/theme.js?v={__version__}"></script>
"""


@contextmanager
def frame(probes: Probes, here: Here) -> Iterator[None]:
    """The page's own content goes inside.

    with frame(probes, "pipeline"):
        tag("h1", "Pipeline")
    """
    ui.page_title(f"{_PAGES[here][0]} - cryptostream")
    ui.add_head_html(_HEAD)
    tag("a", "To the content", classes="skip", href="#main")
    with tag("header", classes="top"):
        tag("a", "cryptostream", classes="brand", href=f"{MOUNTED}/")
        _navigation(here)
        state = tag("a", classes="state", href=_PAGES["pipeline"][1])
        tag("button", classes="theme", type="button", aria_label="Colours")
    with tag("div", classes="banner grave lost", role="alert"):
        tag("strong", "No connection:")
        tag("span", "the server does not answer. What is shown is the last that was seen; it goes on when it is back.")
    banner = _Banner(probes, state)
    ui.timer(_EVERY_S, banner.update)
    with tag("div", classes=here, id="main", tabindex="-1"):  # NiceGUI puts it into a <main>
        yield


def _navigation(here: Here) -> None:
    with tag("nav", aria_label="Pages"):
        for page, (title, address) in _PAGES.items():
            link = tag("a", title, href=address)
            if page == here:
                link.props["aria-current"] = "page"


class _Banner:
    """One place that says what is wrong now, or is not there; and one word for it in the header."""

    def __init__(self, probes: Probes, state: TextElement) -> None:
        self._probes = probes
        self._state = state
        with tag("div", classes="banner", role="status", aria_live="polite") as self._box:
            self._what = tag("strong")
            self._why = tag("span")
            self._more = tag("a", href=_PAGES["pipeline"][1])
        self.update()

    def update(self) -> None:
        """Say what the probes say; only what has changed is sent."""
        health, wrong = self._probes.health(), self._probes.pipeline().wrong
        what, why, more = said(health, wrong)
        self._what.set_text(what)
        self._why.set_text(why)
        self._more.set_text(more)
        self._box.classes(add="shown" if what else "", remove="" if what else "shown")
        self._state.set_text(word(health, wrong))
        grave, fine = not health.redis_connected, not what
        for box in (self._box, self._state):
            box.classes(add="grave" if grave else "", remove="" if grave else "grave")
            box.classes(add="fine" if fine else "", remove="" if fine else "fine")


def said(health: shown.Health, wrong: Sequence[str]) -> tuple[str, str, str]:
    """What is wrong, why, and how much more there is; all empty where nothing is."""
    if health.status == "ok" and not wrong:
        return "", "", ""
    first, *others = wrong or health.reasons or ["nobody said why"]
    more = f"and {len(others)} more" if others else "Pipeline"
    if not health.redis_connected:
        why = first.removeprefix("the bus is away: ").rstrip(".")
        return "Redis is away:", f"{why}. What is shown is the last that was seen.", more
    return "Wrong now:" if health.status == "ok" else "Degraded:", first, more


def word(health: shown.Health, wrong: Sequence[str]) -> str:
    """How it is, in a few words.

    >>> from cryptostream.web.shown import Health
    >>> well = Health(status="ok", redis_connected=True, ws_connected=True, symbols_tracked=1, tick_count=9,
    ...     last_tick_time=None, reasons=[])
    >>> word(well, []), word(well, ["5 gaps are open"])
    ('live, 1 pair', 'degraded, 1 pair')
    """
    if not health.redis_connected:
        return "Redis is away"
    state = "live" if health.status == "ok" and not wrong else "degraded"
    return f"{state}, {health.symbols_tracked} pair{'' if health.symbols_tracked == 1 else 's'}"
