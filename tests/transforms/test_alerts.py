"""Entries in, alerts out: what holds, once, within the limit by the entries' own time, in one safe line."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptostream.errors import UsageError
from cryptostream.model.codec import iso
from cryptostream.model.events import Entry
from cryptostream.transforms import alerts, where
from cryptostream.transforms.alerts import Alert, Limit, Rate, Rule, line, one_line, parse_rate

T0_MS = 1_731_605_400_000


def signal(second: float, stream: str = "signals:macd_rsi:BTCUSDT", **told: str) -> Entry:
    ms = T0_MS + round(second * 1000)
    fields = {"strategy": "macd_rsi", "pair": "BTCUSDT", "side": "buy", "price": "45123.5", "strength": "0.9"}
    return Entry(stream, f"{ms}-7", {**fields, "reason": "", "ts": iso(ms * 1000), **told})


def rule(text: str = "strength > 0.8", most: int = 2, window_s: float = 60.0) -> Rule:
    return Rule("strong", where.compile(text), Rate(most, window_s))


def told(made: Rule, *entries: Entry) -> list[Alert]:
    return [alert for entry in entries for alert in made(entry)]


def test_an_alert_says_what_caused_it() -> None:
    (alert,) = told(rule(), signal(5, raw_json="{}", rsi="28.5"))
    assert (alert.rule, alert.stream, alert.entry_id) == ("strong", "signals:macd_rsi:BTCUSDT", f"{T0_MS + 5000}-7")
    assert alert.id == f"signals:macd_rsi:BTCUSDT/{T0_MS + 5000}-7"
    assert alert.ts == (T0_MS + 5000) * 1000
    assert alert.fields["rsi"] == "28.5"
    assert "raw_json" not in alert.fields
    assert alert.text == "strong: macd_rsi says buy BTCUSDT at 45123.5, strength 0.9"


def test_what_the_condition_does_not_hold_for_is_nothing() -> None:
    assert told(rule(), signal(1, strength="0.8"), Entry("events:binance", "1-1", {"event": "trimmed"})) == []


def test_an_entry_that_comes_again_is_one_alert_and_counts_once() -> None:
    made = rule()
    assert len(told(made, signal(1), signal(1), signal(1), signal(2))) == 2
    assert made.held_back == 0


def test_the_same_id_of_another_stream_is_another_alert() -> None:
    assert len(told(rule(), signal(1), signal(1, "signals:macd_rsi:ETHUSDT"))) == 2


def test_what_is_over_the_limit_is_counted_and_told_with_the_next() -> None:
    made = rule()
    alerts = told(made, *(signal(second) for second in (0, 1, 2, 3, 4, 61, 62)))
    assert [alert.held_back for alert in alerts] == [0, 0, 3, 0]
    assert alerts[2].text.endswith("strength 0.9 (and 3 more)")
    assert made.held_back == 3


def test_a_stream_that_lags_behind_has_its_own_minute() -> None:
    alerts = told(rule(), *(signal(second) for second in (3600, 3601, 0, 1, 3602, 2)))
    assert [alert.ts // 1_000_000 - T0_MS // 1000 for alert in alerts] == [3600, 3601, 0, 1]


def test_a_time_far_in_the_future_does_not_silence_a_rule() -> None:
    assert len(told(rule(), signal(10**8), signal(10**8 + 1), signal(1), signal(2))) == 4


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 4), st.integers(1, 60))
@settings(max_examples=100)
def test_no_window_ever_holds_more_than_the_limit(seconds: list[int], most: int, window_s: int) -> None:
    seconds = sorted(seconds)
    limit = Limit(Rate(most, window_s))
    passed = [second for second in seconds if limit.allows(second * 1_000_000)]
    assert all(sum(start <= one < start + window_s for one in passed) <= most for start in range(301))
    for place, second in enumerate(seconds):  # and nothing is held back that had room
        if second not in passed:
            assert sum(second - window_s < one <= second for one in passed) >= most, place


@given(st.lists(st.integers(0, 100), max_size=40), st.integers(1, 4), st.integers(1, 60), st.integers(1, 3))
@settings(max_examples=100)
def test_nor_where_streams_interleave(seconds: list[int], most: int, window_s: int, kept: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alerts, "_KEPT_WINDOWS", kept)
        limit = Limit(Rate(most, window_s))
        passed = [second for second in seconds if limit.allows(second * 1_000_000)]
    assert all(sum(start <= one < start + window_s for one in passed) <= most for start in range(101))


@pytest.mark.parametrize("page", [100, 2_000])
def test_streams_that_are_caught_up_with_page_by_page_keep_to_the_limit_together(page: int) -> None:
    made, names = rule(most=5), [f"signals:macd_rsi:PAIR{number}" for number in range(4)]
    behind = {name: [signal(second, name) for second in range(0, 10_000, 5)] for name in names}
    seconds: list[int] = []
    for first in range(0, 2_000, page):
        for name in names:
            seconds += [alert.ts // 1_000_000 for alert in told(made, *behind[name][first : first + page])]
    for start in seconds:
        assert sum(start <= one < start + 60 for one in seconds) <= 5
    assert len(seconds) > 10_000 // 60 * 5 * 0.9


def test_what_lags_behind_all_that_is_remembered_is_counted_and_not_told() -> None:
    made = rule(most=1)
    assert len(told(made, *(signal(60 * minute) for minute in range(1, 202)))) == 201
    assert told(made, signal(0, "signals:macd_rsi:ETHUSDT"), signal(60 * 101 + 59, "signals:macd_rsi:ETHUSDT")) == []
    (alert,) = told(made, signal(60 * 202))
    assert alert.held_back == 2


def test_times_of_the_future_do_not_silence_a_rule_as_long_as_they_are_remembered() -> None:
    made = rule(most=1)
    told(made, *(signal(10**6 + 60 * number) for number in range(99)))
    assert len(told(made, *(signal(second) for second in range(0, 6_000, 60)))) == 100


def test_what_is_remembered_is_bounded() -> None:
    made = rule(most=5, window_s=1.0)
    for second in range(11_000):
        told(made, signal(second))
    assert len(made._seen) == 10_000
    assert len(made._limit._times) == 500


LINES: dict[str, tuple[Entry, str]] = {
    "reason": (signal(1, reason="rsi below 30"), "r: macd_rsi says buy BTCUSDT at 45123.5, strength 0.9: rsi below 30"),
    "ledger": (
        Entry(
            "events:binance",
            "1-1",
            {
                "exchange": "binance",
                "event": "gap_unfillable",
                "ts": "x",
                "pair": "BTCUSDT",
                "channel": "trades",
                "cause": "404",
                "gap_from": "5",
                "gap_to": "9",
            },
        ),
        "r: gap_unfillable, binance, BTCUSDT, trades, cause 404, gap_from 5, gap_to 9",
    ),
    "gap": (
        Entry("trades:BTCUSDT", "1-1", {"kind": "gap", "gap_from": "5", "gap_to": "9", "cause": "drop"}),
        "r: gap in trades:BTCUSDT, cause drop, gap_from 5, gap_to 9",
    ),
    "anything": (Entry("notes", "1-1", {"text": "hello", "ts": "x", "raw_json": "{}"}), "r: notes: text hello"),
    "terminal": (
        signal(1, reason="a\x1b[31m\r\nb\u2028c"),
        "r: macd_rsi says buy BTCUSDT at 45123.5, strength 0.9: a [31m b c",
    ),
}


@pytest.mark.parametrize(("entry", "text"), LINES.values(), ids=LINES.keys())
def test_every_kind_of_entry_has_its_line(entry: Entry, text: str) -> None:
    assert line("r", entry) == text


@given(st.dictionaries(st.text(), st.text(), max_size=5), st.text(min_size=1))
@settings(max_examples=100)
def test_whatever_a_feed_says_a_line_is_one_printable_line(fields: dict[str, str], stream: str) -> None:
    text = line("r", Entry(stream, "1-1", fields))
    assert text.isprintable()
    assert len(text) <= 500


def test_long_text_is_cut() -> None:
    assert len(line("r", Entry("notes", "1-1", {str(number): "x" * 9999 for number in range(99)}))) == 500
    assert one_line(" a  b ") == "a b"


@pytest.mark.parametrize("text", ["", "5", "5/", "5/1", "1001/1m", "0/1m", "5/2d", "5/500ms", "-1/1m", "5/1m "])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_rate(text)


def test_an_event_of_quality_is_an_alert() -> None:
    made = rule('event in ("gap_unfillable", "trimmed", "overflow")')
    kinds = ["connected", "gap_unfillable", "gap_filled", "trimmed"]
    entries: list[Any] = [Entry("events:binance", f"{T0_MS + n}-0", {"event": kind}) for n, kind in enumerate(kinds)]
    assert [alert.fields["event"] for alert in told(made, *entries)] == ["gap_unfillable", "trimmed"]
