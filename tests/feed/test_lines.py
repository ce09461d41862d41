"""Where every subscription stands: seeded from its stream, forgotten when it goes, counted active when it spoke."""

from cryptostream.feed.door import Door
from cryptostream.feed.inbox import Inbox
from cryptostream.feed.lines import Lines
from cryptostream.model.events import KlineRecord, Micros, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.model.ports import Position
from cryptostream.testing import ManualClock
from cryptostream.venues.base import Rule
from cryptostream.venues.candles import Candles
from cryptostream.venues.continuity import Continuity

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
ETH = Subscription("binance", Channel.TRADES, "ETHUSDT")
MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
OPEN_MS = 1_731_605_400_000


def lines() -> Lines:
    continuity, candles = Continuity(lambda _: Rule.CONTIGUOUS, on_gap=lambda _: None), Candles()
    return Lines(continuity, candles, Door(continuity, candles, Inbox(1000), ManualClock(), "binance", ""))


def trade(trade_id: int, *, at_s: int = 0, of: Subscription = BTC) -> TradeRecord:
    return TradeRecord(of, "1", "1", Micros(OPEN_MS * 1000 + at_s * 1_000_000), "buy", trade_id)


def kline(minute: int) -> KlineRecord:
    opens = OPEN_MS + minute * 60_000
    ts = Micros((opens + 60_000) * 1000)
    return KlineRecord(MINUTES, opens, opens + 59_999, "1", "1", "1", "1", "1", "1", 1, "1", "1", True, ts)


def test_trades_go_on_after_an_id_and_klines_after_a_window() -> None:
    known = lines()
    known.seed({BTC: Position(7, Micros(1)), MINUTES: Position(OPEN_MS, Micros(1))})
    assert (known.facts(BTC).last_id, known.facts(MINUTES).last_id) == (7, OPEN_MS)


def test_what_a_line_waited_for_before_it_was_seeded_is_forgotten() -> None:
    known = lines()
    known.door.receive([trade(1), trade(5)])
    known.seed({BTC: Position(7, Micros(1))})
    facts = known.facts(BTC)
    assert (facts.state, facts.last_id, facts.held) == ("live", 7, 0)


def test_a_line_that_is_forgotten_has_said_nothing_yet() -> None:
    known = lines()
    known.door.receive([trade(1), kline(0)])
    known.forget([BTC, MINUTES])
    assert [known.facts(each).state for each in (BTC, MINUTES)] == ["silent", "silent"]


def test_facts_of_klines_tell_the_windows_that_are_missing() -> None:
    known = lines()
    known.door.receive([kline(0), kline(3), kline(4)])
    facts = known.facts(MINUTES, "why")
    assert (facts.channel, facts.state, facts.note) == ("klines:1m", "filling", "why")
    assert (facts.last_id, facts.gap_from, facts.gap_to, facts.held) == (
        OPEN_MS,
        OPEN_MS + 60_000,
        OPEN_MS + 120_000,
        2,
    )


def test_active_is_who_spoke_within_half_a_minute_of_the_newest_word() -> None:
    known = lines()
    known.door.receive([trade(1, at_s=29), trade(1, at_s=0, of=ETH)])
    assert known.active([BTC, ETH, MINUTES]) == [BTC, ETH]
    known.door.receive([kline(0)])
    assert known.active([BTC, ETH, MINUTES]) == [MINUTES]
    assert known.active([BTC, ETH]) == [BTC, ETH]
