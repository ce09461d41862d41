"""What a person does with the dashboard, from the first look to the morning Redis dies."""

import re
from collections.abc import Callable
from typing import Literal

import redis
from playwright.sync_api import Browser, Locator, ViewportSize, expect

from tests.conftest import RedisServer
from tests.pages.stage import FOLLOWED, PAIRS, Seen, Stage

SAID = "<b>because</b>"
SIGNAL: dict[str | bytes, str] = {
    "strategy": "mine",
    "exchange": "binance",
    "pair": "ETHUSDT",
    "side": "buy",
    "price": "3464.1",
    "strength": "0.5",
    "reason": SAID,
    "ts": "2026-11-21T12:00:00.000000",
}
PHONE: ViewportSize = {"width": 390, "height": 844}
Shot = Callable[[Seen, str], None]

expect.set_options(timeout=15_000)


def panel(seen: Seen, name: str) -> Locator:
    return seen.page.get_by_role("region", name=name)


def pair(seen: Seen, name: str) -> Locator:
    return panel(seen, "Watchlist").locator(f"[data-pair={name}]")


def drawn(seen: Seen) -> str:
    return str(panel(seen, "Chart").locator("canvas").evaluate("canvas => canvas.toDataURL()"))


def test_a_trader_looks_at_a_pair_adds_one_and_stops_a_strategy(stage: Stage, seen: Seen, shot: Shot) -> None:
    page = seen.page
    with redis.Redis.from_url(stage.redis_url, protocol=2) as bus:
        bus.xadd("signals:mine:ETHUSDT", SIGNAL)
    page.goto(f"{stage.url}/dashboard/")

    # Click a pair, and see its candles move.
    for name in FOLLOWED:
        expect(pair(seen, name)).to_be_visible()
    pair(seen, "ETHUSDT").click()
    expect(panel(seen, "Chart").get_by_role("heading")).to_have_text("ETHUSDT")
    candles = panel(seen, "Chart").locator("canvas")
    expect(candles).to_have_attribute("aria-label", re.compile("^ETHUSDT candles of 1s"))
    before, label = drawn(seen), candles.get_attribute("aria-label")
    expect(candles).not_to_have_attribute("aria-label", label or "")
    assert drawn(seen) != before
    expect(panel(seen, "Trades").locator("li, tr").nth(5)).to_be_visible()
    expect(panel(seen, "Signals").get_by_text(SAID)).to_be_visible()
    shot(seen, "market")

    # Add a symbol that the exchange trades, and one that it does not.
    added = PAIRS[-1]
    field = page.get_by_label("Find a pair, or symbols to add")
    field.fill(f"{added} NOSUCHUSDT")
    page.keyboard.press("Enter")
    expect(panel(seen, "Watchlist").get_by_text(re.compile("NOSUCHUSDT.*not listed"))).to_be_visible()
    field.fill("")
    expect(pair(seen, added)).to_contain_text("/s")
    assert added in str(stage.get("/symbols"))
    shot(seen, "added")

    # Stop a strategy; it says so, and so does the API.
    strategies = panel(seen, "Strategies")
    strategies.get_by_role("button", name="Stop macd_rsi").press("Enter")
    expect(strategies.get_by_role("button", name="Start macd_rsi", exact=True)).to_be_focused()
    [told] = [one for one in stage.get("/api/v1/strategies") if one["name"] == "macd_rsi"]  # type: ignore[attr-defined]
    assert told["state"] == "paused"
    shot(seen, "stopped")
    strategies.get_by_role("button", name="Start macd_rsi").click()
    expect(strategies.get_by_role("button", name="Stop macd_rsi")).to_be_visible()

    assert seen.complaints == []


def test_every_page_fits_a_phone_by_day_and_by_night(stage: Stage, browser: Browser, shot: Shot) -> None:
    queue = f"dlq:{'long' * 20}"
    with redis.Redis.from_url(stage.redis_url, protocol=2) as bus:
        bus.xadd(queue, {"stream": f"trades:{'LONG' * 20}", "entry_id": "1-1", "error": "no " * 300})
    context = browser.new_context(viewport=PHONE)
    seen = Seen(context.new_page())
    schemes: list[Literal["light", "dark"]] = ["light", "dark"]
    for where in ("", "pipeline", "backtests"):
        seen.page.goto(f"{stage.url}/dashboard/{where}")
        expect(seen.page.locator("main h1, main h2").first).to_be_visible()
        if where == "pipeline":
            expect(seen.page.get_by_role("button", name=re.compile("^Retry 1 of long"))).to_be_visible()
        for scheme in schemes:
            seen.page.emulate_media(color_scheme=scheme)
            wide = seen.page.evaluate("document.documentElement.scrollWidth")
            shot(seen, f"{scheme}-{where or 'market'}")
            assert wide <= PHONE["width"], f"{where or 'market'} is {wide} px wide"
    assert seen.complaints == []
    context.close()
    with redis.Redis.from_url(stage.redis_url, protocol=2) as bus:
        bus.delete(queue)


def test_the_pages_say_that_redis_is_away_and_that_it_is_back(
    stage: Stage, server: RedisServer, seen: Seen, shot: Shot
) -> None:
    page = seen.page
    page.goto(f"{stage.url}/dashboard/pipeline")
    expect(page.get_by_text("Nothing.")).to_be_visible()
    expect(page.get_by_text("trades:BTCUSDT").first).to_be_visible()
    shot(seen, "well")

    server.kill()
    banner = page.locator(".banner:not(.lost)")
    expect(banner).to_contain_text("Redis is away")
    shot(seen, "away")

    server.start()
    expect(banner).not_to_contain_text("Redis is away")
    expect(page.get_by_text("Nothing.")).to_be_visible(timeout=30_000)
    assert seen.complaints == []
