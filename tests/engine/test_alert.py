"""What is told for as long as it lasts, and no longer."""

from cryptostream.engine.alert import Alert
from cryptostream.engine.stats import FeedStats, PairFacts


def frames(total: int, bad: int) -> FeedStats:
    return FeedStats(total_messages=total, error_messages=bad)


def pair(name: str, state: str) -> PairFacts:
    return PairFacts(exchange="binance", channel="trades", pair=name, state=state)


def test_one_frame_in_a_hundred_may_be_unreadable_and_no_more() -> None:
    alert = Alert()
    assert alert.look(3.0, frames(1000, 10), ()) == []
    assert alert.look(6.0, frames(1000, 11), ()) == ["11 of the 1,000 frames of the last minute could not be read"]


def test_what_was_unreadable_is_forgotten_after_a_minute() -> None:
    alert = Alert()
    assert alert.look(3.0, frames(100, 100), ())
    assert alert.look(62.0, frames(200, 100), ())
    assert alert.look(63.0, frames(300, 100), ()) == []


def test_a_pair_that_waits_for_long_is_told_until_it_goes_on() -> None:
    alert, waits, goes_on = Alert(), pair("BTCUSDT", "filling"), pair("BTCUSDT", "live")
    assert alert.look(10.0, FeedStats(), [waits, pair("ETHUSDT", "live")]) == []
    assert alert.look(69.0, FeedStats(), [waits]) == []
    assert alert.look(70.0, FeedStats(), [waits]) == ["1 stream has waited for missing data for over a minute"]
    assert alert.look(73.0, FeedStats(), [goes_on]) == []
    assert alert.look(76.0, FeedStats(), [waits]) == []
