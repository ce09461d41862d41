"""What a page says of a wish: a verdict for each part of it, or in words why there is none."""

import pytest

from cryptostream.errors import BusUnavailable, NotFound
from cryptostream.web import shown
from cryptostream.web.dashboard.market import answered
from tests.web.probes import FakeCommands


async def test_each_symbol_has_its_verdict() -> None:
    commands = FakeCommands()
    answer = await answered("add", lambda: commands.watchlist(shown.Watchlist(add=["BTCUSDT", "NOPE"])))
    assert answer["verdicts"] == [
        {"what": "BTCUSDT", "accepted": True, "why": ""},
        {"what": "NOPE", "accepted": False, "why": "no such symbol"},
    ]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BusUnavailable("no answer from redis"), "no answer from redis"),
        (NotFound("no strategy x", hint="did you mean y?"), "no strategy x - did you mean y?"),
        (KeyError("start"), "that cannot be read"),
    ],
)
async def test_what_failed_is_told_in_words(error: Exception, told: str) -> None:
    async def failing() -> shown.Answered:
        raise error

    assert await answered("start", failing) == {"to": "start", "failed": told}


async def test_a_wish_that_is_too_large_is_refused_with_its_place() -> None:
    commands = FakeCommands()
    answer = await answered("add", lambda: commands.watchlist(shown.Watchlist(add=["A"] * 501)))
    assert answer["failed"].startswith("add: List should have at most 500 items")
    assert not commands.wished
