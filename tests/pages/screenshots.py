"""`python -m tests.pages.screenshots`: the pictures of the README, taken of `cryptostream run --demo`."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.pages.stage import Seen, browser

IMAGES = Path(__file__).parents[2] / "docs" / "images"
_DESKTOP, _PHONE = (1440, 900), (390, 844)
_LIVED_MS = 90_000
_PAIR = "SOLUSDT"
_WAIT_MS = 2_500


def main() -> int:
    with demo() as url, browser() as made:
        market = _page(made, f"{url}/dashboard/?pair={_PAIR}", _DESKTOP, "dark")
        market.get_by_role("button", name="RSI", exact=True).click()
        pipeline = _page(made, f"{url}/dashboard/pipeline", _DESKTOP, "light")
        market.wait_for_timeout(_LIVED_MS)  # so that there is something to see
        market.screenshot(path=IMAGES / "market.png")
        _phone(_page(made, f"{url}/dashboard/?pair={_PAIR}", _PHONE, "light"))
        _kept(pipeline, "pipeline")
        _kept(_backtest(_page(made, f"{url}/dashboard/backtests", _DESKTOP, "light")), "backtests")
    print(*sorted(IMAGES.glob("*.png")), sep="\n")
    return 0


@contextmanager
def demo() -> Iterator[str]:
    """The address of a demo that serves, and ends with this."""
    command = [sys.executable, "-m", "cryptostream", "run", "--demo", "--port", "0"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield next(_addresses(process.stderr))
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _addresses(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        words = [word for word in line.split() if word.startswith("http://") and "dashboard" in word]
        yield from (word.partition("/dashboard")[0] for word in words)


def _page(made: Browser, address: str, size: tuple[int, int], scheme: str) -> Page:
    width, height = size
    context = made.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    seen = Seen(context.new_page())
    seen.page.goto(address)
    seen.page.wait_for_timeout(_WAIT_MS)
    assert not seen.complaints, seen.complaints
    return seen.page


def _kept(page: Page, name: str) -> None:
    page.screenshot(path=IMAGES / f"{name}.png")


def _phone(page: Page) -> None:
    _kept(page, "phone")


def _backtest(page: Page) -> Page:
    page.get_by_role("button", name="Run").click()
    page.get_by_role("link", name="The whole report").wait_for(timeout=60_000)
    page.wait_for_timeout(_WAIT_MS)
    return page


if __name__ == "__main__":
    sys.exit(main())
