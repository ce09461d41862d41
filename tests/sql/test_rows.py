"""What a row holds of its entry: the text of the stream in columns, the rest beside it, nothing lost."""

import json
from typing import Any

import msgspec
import pytest

from cryptostream.model.events import Entry, Gap, Kline, Trade
from cryptostream.sql.rows import TABLES, Kind, rows, table_of
from tests.sql.market import gap, kline, signal, trade


def row(entry: Entry, **options: bool) -> dict[str, Any]:
    """The one row of an entry, by its columns."""
    [(name, [made])] = rows([entry], **options).items()
    return dict(zip(TABLES[name].all_columns, made, strict=True))


@pytest.mark.parametrize(
    ("entry", "table"),
    [
        (trade(1), "trades"),
        (kline(1), "klines"),
        (gap(1, 2), "gaps"),
        (signal(1), "signals"),
        (Entry("agg_trades:BTCUSDT", "1-1", trade(1).fields), "agg_trades"),
        (Entry("trades:kraken:BTCUSD", "1-1", {"price": "1"}), "trades"),
        (Entry("market_data_stream:BTCUSDT", "1-1", trade(1).fields), "trades"),
        (Entry("candles", "1-1", kline(1).fields), "klines"),
        (Entry("events:binance", "1-1", {"event": "stale"}), "entries"),
        (Entry("dlq:ingest", "1-1", {"reason": "junk"}), "entries"),
        (Entry("entries", "1-1", {}), "entries"),
    ],
)
def test_an_entry_goes_to_the_table_of_its_kind(entry: Entry, table: str) -> None:
    assert table_of(entry).name == table


@pytest.mark.parametrize(("table", "event"), [("trades", Trade), ("klines", Kline), ("gaps", Gap)])
def test_every_field_of_an_event_has_a_column(table: str, event: type[msgspec.Struct]) -> None:
    assert set(event.__struct_fields__) <= set(TABLES[table].all_columns)


@pytest.mark.parametrize("entry", [trade(1), kline(1), kline(2, closed=False)])
def test_market_data_fills_its_columns_and_leaves_nothing_over(entry: Entry) -> None:
    made = row(entry)
    assert made.pop("fields") is None
    assert {name for name, value in made.items() if value is None} <= {"raw_json"}


def test_prices_keep_every_digit() -> None:
    assert row(trade(1, price="0.00000100"))["price"] == "0.00000100"


def test_the_time_of_the_key_is_that_of_the_entry_id() -> None:
    made = row(trade(41))
    assert (made["time"], made["entry_id"]) == ("2024-11-14T17:30:00.123000Z", "1731605400123-41")


@pytest.mark.parametrize("ms", [253_402_300_800_000, 2**64 - 1])
def test_an_entry_id_after_the_year_9999_counts_as_its_end(ms: int) -> None:
    assert row(Entry("trades:X", f"{ms}-1", {}))["time"] == "9999-12-31T23:59:59.999000Z"


def test_a_time_with_an_offset_becomes_utc() -> None:
    assert row(trade(1, ts="2024-11-14T18:30:00.5+01:00"))["ts"] == "2024-11-14T17:30:00.500000Z"


def test_flags_and_counts_are_numbers() -> None:
    made = row(kline(1))
    assert (made["closed"], made["trades"]) == (1, 7)
    assert row(kline(1, closed=False))["closed"] == 0


def test_a_gap_says_what_is_missing() -> None:
    made = row(gap(5, 9))
    assert (made["gap_from"], made["gap_to"], made["cause"], made["count"], made["fields"]) == (
        *(5, 9, "unfillable"),
        *(None, None),
    )


def test_a_field_without_a_column_stays_beside_them() -> None:
    made = row(signal(1))
    assert (made["strength"], json.loads(made["fields"])) == ("0.7", {"rsi": "28.4"})


def test_an_entry_of_no_known_kind_is_kept_whole() -> None:
    fields = {"stream": "trades:BTCUSDT", "entry_id": "1-1", "error": "no such price"}
    assert json.loads(row(Entry("dlq:signals", "5-1", fields))["fields"]) == fields


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[
            ("price", text)
            for text in ("", "nan", "Infinity", "1_000", "１", "1.2.3", "0x1", "9" * 65, "1e9999", "1\n")
        ],
        *[("trade_id", text) for text in ("", "1.0", str(2**63), "9" * 30, "1 ")],
        *[
            ("ts", text)
            for text in ("", "yesterday", "2024-13-01", "0001-01-01T00:00:00+01:00", "0999-01-01", "2" * 99)
        ],
    ],
)
def test_text_that_is_not_what_its_column_holds_stays_beside_it(name: str, text: str) -> None:
    made = row(trade(1, **{name: text}))
    assert made[name] is None
    assert json.loads(made["fields"]) == {name: text}


@pytest.mark.parametrize("text", ["1", "-1.5", "+.5", "5.", "1e-05", "1E+3"])
def test_what_people_and_programs_write_for_numbers_is_one(text: str) -> None:
    assert row(trade(1, price=text))["price"] == text


def test_frames_are_left_out_on_request() -> None:
    made = row(trade(1), raw_json=False)
    assert (made["raw_json"], made["fields"]) == (None, None)


def test_text_no_database_takes_is_marked_where_it_was() -> None:
    made = row(Entry("trades:\x00\ud800", "1-1", {"side": "\x00币", "odd\x00": "\ud800"}))
    assert (made["stream"], made["side"], json.loads(made["fields"])) == (
        "trades:\ufffd?",
        "\ufffd币",
        {"odd\ufffd": "?"},
    )


def test_an_entry_that_comes_twice_in_a_batch_is_one_row_the_later() -> None:
    made = rows([trade(1, price="1"), trade(2), trade(1, price="2")])
    assert [found[5] for found in made["trades"]] == ["2", "45002.50000000"]


def test_one_id_in_two_streams_is_two_rows() -> None:
    assert len(rows([trade(1), trade(1, "ETHUSDT")])["trades"]) == 2


def test_the_key_stands_first_and_the_rest_last() -> None:
    for table in TABLES.values():
        names = list(table.all_columns.items())
        assert names[:3] == [("stream", Kind.TEXT), ("time", Kind.TIME), ("entry_id", Kind.TEXT)]
        assert names[-1] == ("fields", Kind.JSON)
