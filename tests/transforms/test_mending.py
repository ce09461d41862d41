"""A repaired copy: filled where somebody knew, told where nobody did, every entry at the place of the contract."""

from collections.abc import Collection, Sequence

import pytest

from cryptostream.model import codec
from cryptostream.model.codec import iso
from cryptostream.model.events import Entry, GapRecord, KlineRecord, Micros, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.transforms.audit import Audit
from cryptostream.transforms.mending import Klines, Trades
from cryptostream.venues.base import Rule

START_MS = 1_731_605_400_000
LINE = Subscription("binance", Channel.TRADES, "BTCUSDT")


def record(number: int, ms: int | None = None) -> TradeRecord:
    at = START_MS + (number if ms is None else ms)
    return TradeRecord(LINE, "100.50", "0.10", Micros(at * 1000), "buy", number, filled=True)


def trade(number: int, ms: int | None = None) -> Entry:
    at = START_MS + (number if ms is None else ms)
    fields = {"exchange": "binance", "pair": "BTCUSDT", "price": "100.50", "qty": "0.10", "ts": iso(at * 1000)}
    return Entry("trades:BTCUSDT", f"{at}-{number}", {**fields, "side": "buy", "trade_id": str(number)})


def gap(first: int, last: int, cause: str = "deadline") -> Entry:
    fields = {"kind": "gap", "exchange": "binance", "pair": "BTCUSDT", "gap_from": str(first), "gap_to": str(last)}
    at = START_MS + first - 1
    return Entry("trades:BTCUSDT", f"{at}-{first}", {**fields, "cause": cause, "ts": iso(at * 1000)})


def mended(entries: Sequence[Entry], known: Collection[int]) -> tuple[Trades, list[Entry]]:
    """The copy, where a venue knows the trades with these ids."""
    mender, made = Trades(LINE, "trades:BTCUSDT"), list[Entry]()
    for entry in [*entries, None]:
        missing = mender.missing(entry)
        if missing:
            made += mender.fill([record(n) for n in range(missing[0], missing[1] + 1) if n in known])
        made += mender.end() if entry is None else mender.take(entry)
    return mender, made


def ids(entries: Sequence[Entry]) -> list[str]:
    return [
        f"gap {entry.fields['gap_from']}-{entry.fields['gap_to']}"
        if "kind" in entry.fields
        else entry.fields["trade_id"]
        for entry in entries
    ]


CASES: dict[str, tuple[list[Entry], Collection[int], list[str], tuple[int, int, int]]] = {
    "nothing is wrong": ([trade(1), trade(2)], range(99), ["1", "2"], (0, 0, 0)),
    "a hole is filled": ([trade(1), trade(4)], range(99), ["1", "2", "3", "4"], (2, 0, 0)),
    "a hole nobody knows": ([trade(1), trade(4)], (), ["1", "gap 2-3", "4"], (0, 2, 0)),
    "a hole known in part": ([trade(1), trade(6)], (3,), ["1", "gap 2-2", "3", "gap 4-5", "6"], (1, 3, 0)),
    "a gap is filled": ([trade(1), gap(2, 3), trade(4)], range(99), ["1", "2", "3", "4"], (2, 0, 0)),
    "a gap nobody knows": ([trade(1), gap(2, 3), trade(4)], (), ["1", "gap 2-3", "4"], (0, 2, 0)),
    "a gap at the end": ([trade(1), gap(2, 4)], (2, 3), ["1", "2", "3", "gap 4-4"], (2, 1, 0)),
    "gaps within gaps at the end": ([trade(1), gap(2, 5), gap(3, 4)], (), ["1", "gap 2-5"], (0, 4, 0)),
    "a gap at the beginning": ([gap(2, 3), trade(4)], (3,), ["gap 2-2", "3", "4"], (1, 1, 0)),
    "a trade that a gap denies": ([trade(1), gap(2, 3), trade(2), trade(4)], (), ["1", "2", "gap 3-3", "4"], (0, 1, 0)),
    "a trade twice": ([trade(1), trade(2), trade(2), trade(3)], (), ["1", "2", "3"], (0, 0, 1)),
}


@pytest.mark.parametrize(("entries", "known", "expected", "counts"), CASES.values(), ids=CASES)
def test_a_copy(
    entries: list[Entry], known: Collection[int], expected: list[str], counts: tuple[int, int, int]
) -> None:
    mender, made = mended(entries, known)

    assert ids(made) == expected
    assert (mender.filled, mender.unfilled, mender.left_out) == counts


@pytest.mark.parametrize(("entries", "known"), [case[:2] for case in CASES.values()], ids=CASES)
def test_a_copy_is_proven(entries: list[Entry], known: Collection[int]) -> None:
    audit = Audit(lambda exchange, channel: Rule.CONTIGUOUS)
    for entry in mended(entries, known)[1]:
        audit.add(entry)

    assert audit.reports()[0].failures == {}


def test_a_filled_trade_from_later_moves_those_behind_it() -> None:
    mender = Trades(LINE, "trades:BTCUSDT")
    made = [*mender.take(trade(1, ms=1)), *mender.fill([record(2, ms=9)]), *mender.take(trade(3, ms=5))]

    assert [entry.entry_id for entry in made] == [f"{START_MS + 1}-1", f"{START_MS + 9}-2", f"{START_MS + 9}-3"]
    assert made[2].fields == trade(3, ms=5).fields


def test_a_gap_that_stays_keeps_its_cause() -> None:
    [_, told, _] = mended([trade(1), gap(2, 3, cause="too_large"), trade(4)], ())[1]

    assert (told.fields["cause"], told.entry_id) == ("too_large", f"{START_MS + 1}-2")


def test_what_is_appended_goes_on_at_the_newest_entrys_time() -> None:
    mender = Trades(LINE, "trades:BTCUSDT", newest=7, ms=START_MS + 50)

    assert [entry.entry_id for entry in mender.fill([record(8), record(9, ms=60)])] == [
        f"{START_MS + 50}-8",
        f"{START_MS + 60}-9",
    ]


def test_an_entry_that_cannot_be_read_is_left_out() -> None:
    broken = Entry("trades:BTCUSDT", "1-1", {"trade_id": "x"})

    assert mended([broken, trade(1)], ())[0].left_out == 1


MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)


def window(number: int) -> int:
    return START_MS + number * 60_000


def candle(number: int, *, closed: bool = True) -> KlineRecord:
    opened = window(number)
    told = Micros((opened + (60_100 if closed else 30_000)) * 1000)
    prices = ("10", "12", "9", "11", "3", "30", 7, "1", "10")
    return KlineRecord(MINUTES, opened, opened + 59_999, *prices, closed, told)  # type: ignore[arg-type]


def kline(number: int, *, closed: bool = True) -> Entry:
    opened = window(number)
    entry_id = f"{opened + 59_999}-1" if closed else f"{opened + 30_000}-0"
    return Entry("klines:BTCUSDT:1m", entry_id, codec.fields(candle(number, closed=closed)))


def gap_of_klines(first: int, last: int) -> Entry:
    gap = GapRecord(MINUTES, window(first), window(last), "deadline", Micros((window(first) - 1) * 1000))
    return Entry("klines:BTCUSDT:1m", f"{window(last) + 59_999}-1", codec.fields(gap))


def mended_klines(entries: Sequence[Entry], known: Collection[int]) -> tuple[Klines, list[Entry]]:
    mender, made = Klines(MINUTES, "klines:BTCUSDT:1m"), list[Entry]()
    for entry in [*entries, None]:
        missing = mender.missing(entry)
        if missing:
            made += mender.fill([candle(n) for n in known if missing[0] <= window(n) <= missing[1]])
        made += mender.end() if entry is None else mender.take(entry)
    return mender, made


KLINES: dict[str, tuple[list[Entry], Collection[int], list[Entry], tuple[int, int, int]]] = {
    "nothing is wrong": ([kline(0), kline(1)], range(9), [kline(0), kline(1)], (0, 0, 0)),
    "a window is filled": ([kline(0), kline(2)], range(9), [kline(0), kline(1), kline(2)], (1, 0, 0)),
    "windows nobody knows": ([kline(0), kline(3)], (), [kline(0), gap_of_klines(1, 2), kline(3)], (0, 2, 0)),
    "windows known in part": (
        [kline(0), kline(4)],
        (2,),
        [kline(0), gap_of_klines(1, 1), kline(2), gap_of_klines(3, 3), kline(4)],
        (1, 2, 0),
    ),
    "a gap is filled": ([kline(0), gap_of_klines(1, 1), kline(2)], (1,), [kline(0), kline(1), kline(2)], (1, 0, 0)),
    "a gap at the end": ([kline(0), gap_of_klines(1, 2)], (1,), [kline(0), kline(1), gap_of_klines(2, 2)], (1, 1, 0)),
    "a gap at the beginning": ([gap_of_klines(1, 1), kline(2)], (1,), [kline(1), kline(2)], (1, 0, 0)),
    "a window twice": ([kline(0), kline(0), kline(1)], (), [kline(0), kline(1)], (0, 0, 1)),
    "an update of a window that never closed": (
        [kline(0), kline(1, closed=False), kline(2)],
        (1,),
        [kline(0), kline(1, closed=False), kline(1), kline(2)],
        (1, 0, 0),
    ),
    "an update behind a hole": (
        [kline(0), kline(2, closed=False)],
        (1,),
        [kline(0), kline(1), kline(2, closed=False)],
        (1, 0, 0),
    ),
    "an update twice": (
        [kline(0), kline(1, closed=False), kline(1, closed=False)],
        (),
        [kline(0), kline(1, closed=False)],
        (0, 0, 1),
    ),
}


@pytest.mark.parametrize(("entries", "known", "expected", "counts"), KLINES.values(), ids=KLINES)
def test_a_copy_of_klines(
    entries: list[Entry], known: Collection[int], expected: list[Entry], counts: tuple[int, int, int]
) -> None:
    mender, made = mended_klines(entries, known)
    audit = Audit(lambda exchange, channel: Rule.NONE)
    for entry in made:
        audit.add(entry)

    assert [entry.entry_id for entry in made] == [entry.entry_id for entry in expected]
    assert [entry.fields.get("kind") for entry in made] == [entry.fields.get("kind") for entry in expected]
    assert (mender.filled, mender.unfilled, mender.left_out) == counts
    assert audit.reports()[0].failures == {}


def test_an_update_that_the_venue_tells_is_no_closed_kline() -> None:
    mender = Klines(MINUTES, "klines:BTCUSDT:1m", newest=window(0))

    assert mender.fill([candle(1, closed=False)]) == []
