"""A browser in front of a dashboard that wants a token, and what a reader may do there."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.pages.stage import Seen

TOKEN, READ_TOKEN = "canary-that-may-write", "canary-that-may-read"


@pytest.fixture
def url(real_redis_url: str, tmp_path: Path) -> Iterator[str]:
    """`cryptostream serve` on a bus where nobody ingests, with a token for each right."""
    tokens = {"CRYPTOSTREAM_SERVE__TOKEN": TOKEN, "CRYPTOSTREAM_SERVE__READ_TOKEN": READ_TOKEN}
    words = ["serve", "--port", "0", "--redis", real_redis_url, "--data-dir", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "cryptostream", *words],
        env={**os.environ, **tokens},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        yield process.stderr.readline().removeprefix("dashboard ").removesuffix("/dashboard/\n")
        process.terminate()
        assert "canary" not in process.communicate(timeout=15)[1]
    finally:
        process.kill()
        process.wait()


def test_who_may_only_read_gets_in_and_changes_nothing(url: str, seen: Seen, shot: Callable[[Seen, str], None]) -> None:
    page = seen.page
    page.goto(f"{url}/dashboard/")
    expect(page).to_have_url(f"{url}/login?next=/dashboard/")
    shot(seen, "login")
    page.get_by_label("Token").fill("no-token-of-this-server")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That is not a token of this server.")
    page.get_by_label("Token").fill(READ_TOKEN)
    page.keyboard.press("Enter")
    field = page.get_by_label("Find a pair, or symbols to add")
    field.fill("BTCUSDT")
    page.keyboard.press("Enter")
    expect(page.get_by_text("this token may only read").first).to_be_visible()
    shot(seen, "refused")
    [token_that_was_none, *others] = seen.complaints
    assert ("403 (Forbidden)" in token_that_was_none, others) == (True, [])
