"""What an operator does: reads what is set aside, pauses a consumer, runs a backtest and opens its report."""

import re
from collections.abc import Callable

import redis
from playwright.sync_api import expect

from tests.pages.stage import Seen, Stage

Shot = Callable[[Seen, str], None]

expect.set_options(timeout=15_000)


def test_an_operator_retries_a_letter_pauses_a_consumer_and_runs_a_backtest(
    stage: Stage, seen: Seen, shot: Shot
) -> None:
    page = seen.page
    feed_text = "<img src=x onerror=alert(1)>"
    with redis.Redis.from_url(stage.redis_url, decode_responses=True, protocol=2) as bus:
        entry = bus.xadd("trades:OLD", {"n": 1}, id="1-1")
        bus.xgroup_create("trades:OLD", "old", "$")
        bus.xadd("dlq:old", {"stream": "trades:OLD", "entry_id": str(entry), "error": feed_text, "deliveries": 5})
        page.goto(f"{stage.url}/dashboard/pipeline")

        # A dead letter is shown as text, said to be wrong, and goes back to its group.
        letters = page.get_by_role("region", name="Dead letters").first
        expect(letters.get_by_text(feed_text)).to_be_visible()
        expect(page.locator(".wrongs")).to_contain_text("dead letter")
        shot(seen, "pipeline")
        letters.get_by_role("button", name=re.compile("^Retry dlq:old")).press("Enter")
        expect(letters.get_by_text("1 given back to old")).to_be_visible()
        expect(letters.get_by_text(feed_text)).to_have_count(0)
        assert bus.xpending("trades:OLD", "old")["pending"] == 1  # type: ignore[call-overload,index]

    # A consumer pauses and goes on.
    consumers = page.get_by_role("region", name="Consumers").first
    consumers.get_by_role("button", name=re.compile("^Pause")).click()
    expect(consumers.get_by_text("paused")).to_be_visible()
    consumers.get_by_role("button", name=re.compile("^Resume")).click()
    expect(consumers.get_by_text("running")).to_be_visible()

    # A backtest over what the bus holds, with its progress, its curves, and its page in a sandbox.
    page.goto(f"{stage.url}/dashboard/backtests")
    expect(page.get_by_text("No backtest was kept yet")).to_be_visible()
    page.get_by_label("Of").fill("trades:BTCUSDT")
    page.get_by_label("Strategy").select_option("ma_cross")
    page.get_by_label("Parameters").fill("fast=2..4:1, slow=6,9")
    page.get_by_label("Bars").fill("500ms")
    page.keyboard.press("Enter")
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_text("is done.")).to_be_visible(timeout=30_000)
    expect(page.get_by_role("slider", name="Equity and drawdown")).to_be_visible()
    expect(page.get_by_role("region", name="Figures")).to_contain_text("max drawdown")
    shot(seen, "backtest")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="The whole report").click()
    expect(opened.value.get_by_role("heading", name="ma_cross on BTCUSDT")).to_be_visible()
    assert opened.value.evaluate("self.origin") == "null"

    assert seen.complaints == []
