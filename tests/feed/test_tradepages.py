"""What pages say about ids that do not exist."""

from cryptostream.feed.tradepages import Absent, Page
from cryptostream.model.events import Micros, TradeRecord
from cryptostream.model.instrument import Channel, Subscription

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")


def page(first: int, *ids: int, limit: int = 1000) -> Page:
    return Page(first, limit, [TradeRecord(BTC, "1", "1", Micros(1), "buy", one) for one in ids])


def test_ids_left_out_twice_do_not_exist() -> None:
    absent = Absent()
    absent.look(page(3, 5, 6, 9), now_s=10.0)
    assert (absent.until(3), absent.wait_s(3, 10.25)) == (None, 2.75)
    absent.look(page(3, 5, 6, 9), now_s=13.0)
    assert (absent.until(3), absent.until(7), absent.until(5)) == (4, 8, None)


def test_two_looks_at_once_are_one() -> None:
    absent = Absent()
    absent.look(page(3, 5), now_s=10.0)
    absent.look(page(3, 5), now_s=12.9)
    assert absent.until(3) is None


def test_what_is_behind_the_line_is_forgotten() -> None:
    absent = Absent()
    absent.look(page(3, 5, 9), now_s=10.0)
    absent.forget_below(6)
    assert (absent.wait_s(3, 10.0), absent.wait_s(6, 10.0)) == (None, 3.0)


def test_a_page_that_is_full_says_nothing_about_what_is_above_it() -> None:
    assert page(1, 1, 2, limit=3).ends_before(10)
    assert not page(1, 1, 2, 3, limit=3).ends_before(10)
    assert not page(1, 1, 9, limit=3).ends_before(10)
    assert page(1).ends_before(10)
    assert not Page(1, 3, trouble=ValueError("no answer")).ends_before(10)
