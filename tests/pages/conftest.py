"""One stage and one browser for all tests here, which run in one process and leave both as they found them."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.conftest import RedisServer
from tests.pages import stage as stages
from tests.pages.stage import Seen, Stage

SHOTS = Path("build/pages")
_DESKTOP = {"width": 1440, "height": 900}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All in one worker: what they share is made once."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("pages"))


@pytest.fixture(scope="package")
def server(redis_binary: str) -> Iterator[RedisServer]:
    """A Redis that may be killed, and has what it had when it is back."""
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        made = RedisServer(redis_binary, Path(folder), "--appendonly", "yes", "--appendfsync", "always")
        made.start()
        yield made
        made.kill()


@pytest.fixture(scope="package")
def stage(server: RedisServer) -> Iterator[Stage]:
    """A market that is followed and served."""
    with tempfile.TemporaryDirectory(prefix="cs-") as folder, stages.staged(Path(folder), server.url) as made:
        yield made


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The Chromium of this machine; without one the test is skipped. While it is there, no other loop can run."""
    if not stages.has_browser():
        pytest.skip("no chromium on PATH")
    with stages.browser() as made:
        yield made


@pytest.fixture
def seen(browser: Browser) -> Iterator[Seen]:
    """A page of a desktop's size."""
    context = browser.new_context(viewport=_DESKTOP)  # type: ignore[arg-type]
    yield Seen(context.new_page())
    context.close()


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Callable[[Seen, str], None]:
    """Keep a picture of a page as a build artefact."""
    SHOTS.mkdir(parents=True, exist_ok=True)

    def keep(seen: Seen, name: str) -> None:
        seen.page.screenshot(path=SHOTS / f"{request.node.name}-{name}.png")

    return keep
