"""What the reader of a page may have done."""

from types import SimpleNamespace

import pytest

from cryptostream.errors import UsageError
from cryptostream.testing import ManualClock
from cryptostream.web.dashboard import rights
from cryptostream.web.dashboard.rights import Rightful
from tests.web.probes import FakeCommands


def page(monkeypatch: pytest.MonkeyPatch, state: dict[str, bool]) -> None:
    """The page whose events run now."""
    request = SimpleNamespace(scope={"state": state})
    monkeypatch.setattr(
        rights, "ui", SimpleNamespace(context=SimpleNamespace(client=SimpleNamespace(request=request, ip="")))
    )


@pytest.mark.parametrize("state", [{}, {"may_write": False}])
async def test_nobody_gives_commands_whom_the_guard_did_not_let(
    monkeypatch: pytest.MonkeyPatch, state: dict[str, bool]
) -> None:
    page(monkeypatch, state)
    commands = FakeCommands()
    with pytest.raises(UsageError, match="may only read"):
        await Rightful(commands).stop("macd_rsi")
    assert commands.wished == []


async def test_commands_are_as_many_a_minute_as_over_http(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> None:
    page(monkeypatch, {"may_write": True})
    commands = Rightful(FakeCommands(), clock)
    for _ in range(20):
        await commands.pause("demo")
    with pytest.raises(UsageError, match="more than 20 commands a minute"):
        await commands.pause("demo")
    clock.advance(3)
    await commands.pause("demo")
