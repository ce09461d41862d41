"""One stage and one browser for each test here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.conftest import RedisServer
from tests.pages import stage as stages
from tests.pages.stage import Seen, Stage

SHOTS = Path("build/pages")


@pytest.fixture
def server(redis_server: Callable[..., RedisServer]) -> RedisServer:
    """A Redis that may be killed, and has what it had when it is back."""
    return redis_server("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def stage(tmp_path: Path, server: RedisServer) -> Iterator[Stage]:
    """A market that is followed and served."""
    with stages.staged(tmp_path, server.url) as made:
        yield made


@pytest.fixture
def browser() -> Iterator[Browser]:
    """The Chromium of this machine; without one the test is skipped."""
    if not stages.has_browser():
        pytest.skip("no chromium on PATH")
    with stages.browser() as made:
        yield made


@pytest.fixture
def seen(browser: Browser) -> Seen:
    """A page of a desktop's size."""
    return Seen(browser.new_page(viewport={"width": 1440, "height": 900}))


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Callable[[Seen, str], None]:
    """Keep a picture of a page as a build artefact."""
    SHOTS.mkdir(parents=True, exist_ok=True)

    def keep(seen: Seen, name: str) -> None:
        seen.page.screenshot(path=SHOTS / f"{request.node.name}-{name}.png")

    return keep
