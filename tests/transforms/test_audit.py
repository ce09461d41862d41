"""What a stream can be accused of, one flaw at a time, and what is no flaw."""

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptostream.model.codec import iso
from cryptostream.model.events import Entry
from cryptostream.model.instrument import Channel
from cryptostream.transforms.audit import Audit, Report
from cryptostream.transforms.audit.report import EXAMPLES, SPANS_KEPT
from cryptostream.venues.base import Rule

START_MS = 1_731_605_400_000  # 2024-11-14T17:30:00Z, a full minute


def trade(number: int, *, ms: int = 0, at: int | None = None, stream: str = "trades:BTCUSDT", **changed: str) -> Entry:
    """Trade `number`, traded `ms` after the start; its entry stands there, or at `at`."""
    fields = {"exchange": "binance", "pair": "BTCUSDT", "price": "61837.63", "qty": "0.02"}
    fields |= {"ts": iso((START_MS + ms) * 1000), "side": "buy", "trade_id": str(number)} | changed
    return Entry(stream, f"{START_MS + (ms if at is None else at)}-{number}", fields)


def without(entry: Entry, *names: str) -> Entry:
    return Entry(entry.stream, entry.entry_id, {k: v for k, v in entry.fields.items() if k not in names})


def gap(first: int, last: int, *, ms: int = 0) -> Entry:
    fields = {"kind": "gap", "exchange": "binance", "pair": "BTCUSDT", "gap_from": str(first), "gap_to": str(last)}
    fields |= {"cause": "deadline", "ts": iso((START_MS + ms) * 1000)}
    return Entry("trades:BTCUSDT", f"{START_MS + ms}-{first}", fields)


def kline(window: int, *, closed: bool = True, ms: int = 60_500, **changed: str) -> Entry:
    """A one-minute candle; `ms` is when it was told, after it opened."""
    opened = START_MS + window * 60_000
    fields = {"exchange": "binance", "pair": "BTCUSDT", "interval": "1m", "open_time": str(opened)}
    fields |= {"close_time": str(opened + 59_999), "open": "10", "high": "12", "low": "9", "close": "11"}
    fields |= {"volume": "3", "quote_volume": "30", "trades": "7", "taker_buy_volume": "0"}
    fields |= {"taker_buy_quote_volume": "0", "closed": "true" if closed else "false", "ts": iso((opened + ms) * 1000)}
    fields |= changed
    entry_id = f"{opened + 59_999}-1" if closed else f"{min(opened + ms, opened + 59_999)}-0"
    return Entry("klines:BTCUSDT:1m", entry_id, fields)


def audited(entries: Iterable[Entry], rule: Rule = Rule.CONTIGUOUS) -> Report:
    def rule_of(exchange: str, channel: Channel) -> Rule:
        return Rule.NONE if channel is Channel.KLINES else rule

    audit = Audit(rule_of)
    for entry in entries:
        audit.add(entry)
    [report] = audit.reports()
    return report


TRADES: dict[str, tuple[list[Entry], dict[str, int]]] = {
    "nothing": ([trade(1), trade(2), trade(3, ms=7)], {}),
    "a trade of the same millisecond": ([trade(1), trade(2)], {}),
    "a time that steps back": ([trade(1, ms=5), trade(2, ms=2, at=5), trade(3, ms=6)], {}),
    "a recorded gap": ([trade(1, ms=1), gap(2, 9, ms=1), trade(10, ms=4)], {}),
    "recorded gaps in a row": ([trade(1, ms=1), gap(2, 3, ms=1), gap(4, 9, ms=1), trade(10, ms=4)], {}),
    "a stream that was trimmed where times step back": ([trade(5, ms=1, at=4), trade(6, ms=2, at=4)], {}),
    "one trade missing": ([trade(1), trade(3)], {"holes": 1}),
    "trades missing twice": ([trade(1), trade(5), trade(6), trade(8)], {"holes": 4}),
    "a gap that does not say all": ([trade(1), gap(3, 4), trade(5)], {"holes": 1}),
    "less than the gap says": ([trade(1), gap(2, 3), trade(6)], {"holes": 2}),
    "a trade twice": ([trade(1), trade(2), trade(2), trade(3)], {"duplicates": 1}),
    "an old trade again": ([trade(1), trade(2), trade(3), trade(1), trade(4)], {"duplicates": 1}),
    "neighbours swapped": ([trade(1), trade(3), trade(2), trade(4)], {"disorder": 1}),
    "one from before the first": ([trade(5), trade(4), trade(6)], {"disorder": 1}),
    "a trade that a gap calls missing": ([trade(1), gap(2, 3), trade(3), trade(4)], {"malformed": 1}),
    "a gap about what is there": ([trade(1), trade(2), gap(2, 3), trade(4)], {"malformed": 1}),
    "a gap that ends before it begins": ([trade(1), gap(3, 2), trade(2)], {"malformed": 1}),
    "an entry before its time": ([trade(1, ms=5), trade(2, ms=9, at=8), trade(3, ms=9)], {"misplaced": 1}),
    "an entry after its time": ([trade(1, ms=5), trade(2, ms=9, at=10), trade(3, ms=10)], {"misplaced": 1}),
    "an entry below the one before": ([trade(1, ms=5), trade(2, ms=4, at=4), trade(3, ms=4, at=5)], {"misplaced": 1}),
    "an entry that stands at the time of a missing one": ([trade(1, ms=1), trade(3, ms=2, at=9)], {"holes": 1}),
    "an entry under another number": (
        [trade(1), Entry("trades:BTCUSDT", f"{START_MS}-7", trade(2).fields)],
        {"misplaced": 1},
    ),
    "a gap at another place": ([trade(1, ms=5), gap(2, 3, ms=9), trade(4, ms=9)], {"misplaced": 1}),
    "another pair": ([trade(1), trade(2, pair="ETHUSDT")], {"malformed": 1}),
    "another exchange": ([trade(1), trade(2, exchange="kraken")], {"malformed": 1}),
    "no quantity": ([trade(1), without(trade(2), "qty")], {"malformed": 1}),
    "no id": ([trade(1), without(trade(2), "trade_id")], {"malformed": 1}),
    "a price of nothing": ([trade(1, price="0.00")], {"malformed": 1}),
    "a price that is none": ([trade(1, price="1e5")], {"malformed": 1}),
    "a side that is none": ([trade(1, side="BUY")], {"malformed": 1}),
    "a time without microseconds": ([trade(1, ts="2024-11-14T17:30:00")], {"malformed": 1}),
    "a time far behind its entry": ([trade(1, at=60_001)], {"misplaced": 1}),
    "a time a minute behind its entry": ([trade(1, at=60_000)], {}),
    "a time far behind the trade before": ([trade(1, ms=60_001), trade(2, at=60_001)], {"misplaced": 1}),
    "a time ahead of its entry": ([trade(1, ms=1, at=0)], {"misplaced": 1}),
}


@pytest.mark.parametrize(("entries", "failures"), TRADES.values(), ids=TRADES)
def test_trades(entries: list[Entry], failures: Mapping[str, int]) -> None:
    assert audited(entries).failures == failures


def beside_its_message(entry: Entry, told: Mapping[str, str] | None) -> Report:
    """The audit of an entry whose `raw_json` says `told`, or nothing that can be read."""
    audit = Audit(lambda *_: Rule.CONTIGUOUS, lambda report: lambda fields: told)
    return audit.add(Entry(entry.stream, entry.entry_id, {**entry.fields, "raw_json": "as it came"}))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        *[("price", text) for text in ("161837.63", "61837.630", "61837.64")],
        *[("qty", "10.02"), ("side", "sell"), ("ts", iso(START_MS * 1000 + 1)), ("trade_id", "11")],
        *[("pair", "XBTCUSDT"), ("exchange", "kraken")],
    ],
)
def test_a_trade_is_what_its_message_says(name: str, told: str) -> None:
    entry = trade(1)
    [example] = beside_its_message(entry, {**entry.fields, name: told}).malformed.examples

    assert beside_its_message(entry, entry.fields).failures == {}
    assert example == f"{START_MS}-1: {name} {entry.fields[name]!r} differs from its raw_json, {told!r}"


@pytest.mark.parametrize("name", sorted(kline(0).fields))
def test_a_kline_is_what_its_message_says(name: str) -> None:
    entry = kline(0)

    assert beside_its_message(entry, entry.fields).failures == {}
    assert beside_its_message(entry, {**entry.fields, name: "7.5"}).failures == {"malformed": 1}


@pytest.mark.parametrize("entry", [trade(1), kline(0)], ids=["trade", "kline"])
def test_a_message_that_nobody_can_read_proves_nothing(entry: Entry) -> None:
    assert beside_its_message(entry, None).failures == {"malformed": 1}


def test_a_hole_is_known_by_its_first_and_last_id() -> None:
    report = audited([trade(1), trade(5), trade(6), trade(8)])

    assert (report.holes.first, report.holes.count, report.holes.ids) == ([(2, 4), (7, 7)], 2, 4)


def test_what_comes_late_fills_its_hole_and_is_out_of_order() -> None:
    report = audited([trade(1), trade(9), trade(5), trade(2)])

    assert report.holes.first == [(3, 4), (6, 8)]
    assert (report.holes.count, report.holes.ids, report.disorder.count) == (2, 5, 2)


def test_a_recorded_gap_is_counted_and_ends_the_stream_where_it_ends() -> None:
    report = audited([trade(1), gap(2, 9)])

    assert (report.gaps.first, report.gaps.ids, report.last_id, report.facts) == ([(2, 9)], 8, 9, 1)


def test_the_report_says_where_the_proof_begins_and_ends() -> None:
    report = audited([trade(41, ms=1), trade(42, ms=1), trade(43, ms=3)])

    assert (report.first_entry, report.last_entry) == (f"{START_MS + 1}-41", f"{START_MS + 3}-43")
    assert (report.first_id, report.last_id, report.facts, report.entries) == (41, 43, 3, 3)
    assert (report.first_ts, report.last_ts) == ((START_MS + 1) * 1000, (START_MS + 3) * 1000)
    assert (report.kind, report.pair, report.rule) == ("trades", "BTCUSDT", "contiguous")


def test_streams_are_judged_one_by_one() -> None:
    audit = Audit(lambda exchange, channel: Rule.CONTIGUOUS)
    for number in range(1, 4):
        audit.add(trade(number))
        audit.add(trade(2 * number, stream="trades:ETHUSDT"))

    assert [(report.stream, report.failures) for report in audit.reports()] == [
        ("trades:BTCUSDT", {}),
        ("trades:ETHUSDT", {"holes": 2}),
    ]


def test_where_ids_only_rise_there_are_no_holes_and_still_no_step_back() -> None:
    assert audited([trade(1), trade(5), trade(9)], Rule.MONOTONIC).failures == {}
    assert audited([trade(1), trade(9), trade(5), trade(9)], Rule.MONOTONIC).failures == {
        "disorder": 1,
        "duplicates": 1,
    }


def test_where_nothing_is_promised_only_entry_ids_are_judged() -> None:
    report = audited([trade(1, ms=1), trade(9, ms=2), trade(5, ms=3), trade(5, ms=3)], Rule.NONE)

    assert (report.failures, report.by_entry_ids) == ({"duplicates": 1}, True)


def test_counts_are_exact_where_examples_are_few() -> None:
    report = audited([trade(1), *[trade(1) for _ in range(3 * EXAMPLES)]])

    assert (report.duplicates.count, len(report.duplicates.examples)) == (3 * EXAMPLES, EXAMPLES)


def test_past_what_is_kept_holes_are_still_counted() -> None:
    report = audited(trade(2 * number) for number in range(SPANS_KEPT + 5))

    assert (report.holes.count, report.holes.ids, len(report.holes.first)) == (
        SPANS_KEPT + 4,
        SPANS_KEPT + 4,
        SPANS_KEPT,
    )
    assert not report.holes.complete


def test_a_stream_that_is_started_afresh_is_proved_from_there() -> None:
    audit = Audit(lambda exchange, channel: Rule.CONTIGUOUS)
    audit.add(trade(1))
    audit.restart("trades:BTCUSDT")
    audit.add(trade(7))

    assert audit.reports()[0].failures == {}


@pytest.mark.parametrize("stream", ["trades:BTCUSDT", "agg_trades:BTCUSDT", "again:trades:BTCUSDT", "renamed"])
def test_a_stream_of_trades_is_one_by_its_fields(stream: str) -> None:
    assert audited([trade(1, stream=stream), trade(3, stream=stream)]).failures == {"holes": 1}


def test_aggregated_trades_are_judged_by_their_own_rule() -> None:
    audit = Audit(lambda exchange, channel: Rule.CONTIGUOUS if channel is Channel.AGG_TRADES else Rule.NONE)
    for number in (1, 3):
        audit.add(trade(number, stream="agg_trades:BTCUSDT"))

    assert audit.reports()[0].failures == {"holes": 1}


KLINES: dict[str, tuple[list[Entry], dict[str, int]]] = {
    "nothing": ([kline(0), kline(1), kline(2)], {}),
    "updates between": ([kline(0, closed=False, ms=2000), kline(0), kline(1, closed=False, ms=4000), kline(1)], {}),
    "a window that is still open": ([kline(0), kline(1), kline(2, closed=False, ms=1000)], {}),
    "a window missing": ([kline(0), kline(2)], {"holes": 1}),
    "windows missing": ([kline(0), kline(5)], {"holes": 4}),
    "a window that never closed": ([kline(0), kline(1, closed=False, ms=2000), kline(2)], {"holes": 1}),
    "a closed one twice": ([kline(0), kline(1), kline(1)], {"duplicates": 1}),
    "closed ones swapped": ([kline(0), kline(2), kline(1)], {"disorder": 1}),
    "an update after its close": (
        [kline(0), Entry("klines:BTCUSDT:1m", f"{START_MS + 61_000}-0", kline(0, closed=False).fields)],
        {"duplicates": 1, "misplaced": 1},
    ),
    "an update twice": ([kline(0, closed=False, ms=9), kline(0, closed=False, ms=9), kline(0)], {"duplicates": 1}),
    "a low above the open": ([kline(0, low="10.5")], {"malformed": 1}),
    "a high below the close": ([kline(0, high="10.5")], {"malformed": 1}),
    "a window of another length": ([kline(0, close_time=str(START_MS + 119_999))], {"malformed": 1}),
    "a window off its grid": (
        [kline(0, open_time=str(START_MS + 1), close_time=str(START_MS + 60_000))],
        {"malformed": 1},
    ),
    "another interval": ([kline(0), kline(1, interval="3m")], {"malformed": 1}),
    "a volume below zero": ([kline(0, volume="-1")], {"malformed": 1}),
    "no close": ([without(kline(0), "close")], {"malformed": 1}),
    "neither open nor closed": ([without(kline(0), "closed")], {"malformed": 1}),
}


@pytest.mark.parametrize(("entries", "failures"), KLINES.values(), ids=KLINES)
def test_klines(entries: list[Entry], failures: Mapping[str, int]) -> None:
    assert audited(entries).failures == failures


def test_closed_klines_are_named_by_the_windows_that_are_missing() -> None:
    report = audited([kline(0), kline(3)])

    assert report.holes.first == [(START_MS + 60_000, START_MS + 120_000)]
    assert (report.first_id, report.last_id, report.facts) == (START_MS, START_MS + 180_000, 2)


def gap_of_klines(first: int, last: int, *, at: int | None = None) -> Entry:
    """A gap of windows; its entry stands where the last of them would close, or where the window `at` would."""
    opened, until = START_MS + first * 60_000, START_MS + last * 60_000
    fields = {"kind": "gap", "exchange": "binance", "pair": "BTCUSDT", "interval": "1m", "gap_from": str(opened)}
    fields |= {"gap_to": str(until), "cause": "deadline", "ts": iso(opened * 1000)}
    return Entry("klines:BTCUSDT:1m", f"{START_MS + (last if at is None else at) * 60_000 + 59_999}-1", fields)


def test_a_gap_of_klines_is_told_by_its_windows() -> None:
    report = audited([kline(0), gap_of_klines(1, 2), kline(3)])

    assert (report.failures, report.gaps.ids) == ({}, 2)
    assert report.gaps.first == [(START_MS + 60_000, START_MS + 120_000)]


GAPS_OF_KLINES = {
    "one that does not say all": ([kline(0), gap_of_klines(2, 2), kline(3)], {"holes": 1}),
    "one about what is there": ([kline(0), kline(1), gap_of_klines(1, 2), kline(3)], {"malformed": 1}),
    "a window that it denies": ([kline(0), gap_of_klines(1, 2), kline(2), kline(3)], {"malformed": 1}),
    "one at another place": ([kline(0), gap_of_klines(1, 2, at=1), kline(3)], {"misplaced": 1}),
    "one at the beginning": ([gap_of_klines(1, 2), kline(3)], {}),
}


@pytest.mark.parametrize(("entries", "failures"), GAPS_OF_KLINES.values(), ids=GAPS_OF_KLINES)
def test_gaps_of_klines(entries: list[Entry], failures: Mapping[str, int]) -> None:
    assert audited(entries).failures == failures


def other(entry_id: str) -> Entry:
    return Entry("events:binance", entry_id, {"event": "connected"})


def test_of_other_streams_only_the_order_of_entry_ids_is_proved() -> None:
    assert audited([other("1-0"), other("1-1"), other("5-0")]).failures == {}
    assert audited([other("1-0"), other("5-0"), other("5-0"), other("3-0")]).failures == {
        "duplicates": 1,
        "disorder": 1,
    }


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_sequence_of_ids_is_counted_as_a_set_would(numbers: list[int]) -> None:
    report = audited([trade(number) for number in numbers])
    seen: set[int] = set()
    late = again = 0
    for number in numbers:
        again += number in seen
        late += number not in seen and bool(seen) and number < max(seen)
        seen.add(number)
    missing = set(range(min(seen), max(seen))) - seen

    assert (report.duplicates.count, report.disorder.count) == (again, late)
    assert {n for first, last in report.holes.first for n in range(first, last + 1)} == missing
    assert report.holes.ids == len(missing)
