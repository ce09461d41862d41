"""Entries become a table and are the same entries when they come back, field by field and letter by letter."""

import random
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptostream.model.digest import Digest
from cryptostream.model.events import Entry
from cryptostream.tape import schema, text

TRADE = {
    "exchange": "binance",
    "pair": "BTCUSDT",
    "price": "45123.50000000",
    "qty": "0.12300000",
    "ts": "2024-11-14T17:30:00.123000",
    "side": "buy",
    "trade_id": "12345678",
}
GAP = {
    "kind": "gap",
    "exchange": "binance",
    "pair": "BTCUSDT",
    "gap_from": "7",
    "gap_to": "9",
    "cause": "drop",
    "ts": "2024-11-14T17:30:00.123000",
}
KLINE = {
    "exchange": "binance",
    "pair": "BTCUSDT",
    "interval": "1m",
    "open_time": "1731605400000",
    "close_time": "1731605459999",
    "open": "1.50000000",
    "high": "2.00000000",
    "low": "0.00000010",
    "close": "1.00000000",
    "volume": "123456789012.10000000",
    "quote_volume": "0.00000000",
    "trades": "17",
    "taker_buy_volume": "0.5",
    "taker_buy_quote_volume": "3",
    "closed": "true",
    "ts": "2024-11-14T17:30:00.000000",
    "raw_json": '{"k":{"x":true}}',
}
LEDGER = {
    "exchange": "binance",
    "event": "stale",
    "ts": "2024-11-14T17:30:00.000000",
    "pair": "ETHUSDT",
    "channel": "trades",
    "seconds": "1e-05",
}
LETTER = {"stream": "trades:BTCUSDT", "entry_id": "1-1", "error": "ValueError: \x1b[0m", "entry.price": "1"}
IDS = st.tuples(st.integers(0, 10**13), st.integers(0, 2**64 - 1))
FIELDS = st.dictionaries(
    st.sampled_from(["price", "ts", "pair", "entry_id", "entry_id_", "date", "channel", "x"]) | st.text(min_size=1),
    st.text() | st.sampled_from(["1.50", "2024-11-14T17:30:00.000000", "\udc80"]),
    min_size=1,
    max_size=5,
)


def entries(stream: str, *fields: dict[str, str]) -> list[Entry]:
    return [Entry(stream, f"17316054001{number:02d}-{number}", each) for number, each in enumerate(fields)]


def back(table: pa.Table) -> list[Entry]:
    return schema.entries(table, table.schema.metadata)


def digest_of(given: Sequence[Entry]) -> str:
    digest = Digest()
    for entry in given:
        digest.add(entry.stream, entry.entry_id, entry.fields)
    return digest.hexdigest()


@pytest.mark.parametrize(
    "given",
    [
        entries("trades:BTCUSDT", TRADE, {**TRADE, "side": "sell"}, GAP, {**TRADE, "raw_json": "{}"}),
        entries("klines:BTCUSDT:1m", KLINE, {**KLINE, "closed": "false"}),
        entries("events:binance", LEDGER, {"exchange": "binance", "event": "drained", "ts": "now", "count": "3"}),
        entries("dlq:signals", LETTER, {**LETTER, "entry_id_": "x"}),
        entries("signals:macd:BTCUSDT", {"strategy": "macd", "price": "5.0", "strength": "0.7", "rsi": "27.1"}),
        entries("x", {"a": "1", "b": "2"}, {"b": "2", "a": "1"}),
    ],
    ids=lambda given: given[0].stream,
)
def test_entries_come_back_as_they_were(given: list[Entry]) -> None:
    found = back(schema.table(given))

    assert found == given
    assert [list(entry.fields) for entry in found] == [list(entry.fields) for entry in given]


@settings(deadline=None)  # on a busy machine
@given(st.dictionaries(IDS, FIELDS, min_size=1, max_size=30))
def test_whatever_is_in_them_they_come_back_in_the_order_of_their_ids(
    fields: dict[tuple[int, int], dict[str, str]],
) -> None:
    given = [Entry("s:\udc80", f"{ms}-{sequence}", each) for (ms, sequence), each in fields.items()]
    ordered = [Entry("s:\udc80", f"{ms}-{sequence}", fields[ms, sequence]) for ms, sequence in sorted(fields)]

    table = schema.table(given)

    assert back(table) == ordered
    assert schema.facts(table.schema.metadata).digest == digest_of(ordered)


def test_a_table_says_what_it_holds() -> None:
    given = entries("trades:BTCUSDT", *[TRADE] * 3, GAP, *[TRADE] * 20)

    facts = schema.facts(schema.table(given, replaces=["a.parquet"]).schema.metadata)

    assert (facts.stream, facts.entries, facts.replaces) == ("trades:BTCUSDT", 24, ("a.parquet",))
    assert (facts.first_id, facts.last_id) == ("1731605400100-0", "1731605400123-23")
    assert facts.digest == digest_of(given)


def test_an_entry_that_comes_twice_is_there_once() -> None:
    given = entries("trades:BTCUSDT", *[TRADE] * 50)
    shuffled = [*given, *given[7:20]]
    random.Random(4).shuffle(shuffled)

    assert back(schema.table(shuffled)) == given


def test_ids_are_ordered_as_numbers() -> None:
    given = [Entry("s", entry_id, {"a": "1"}) for entry_id in ("10-0", "9-18446744073709551615", "9-2", "9-10")]

    assert [entry.entry_id for entry in back(schema.table(given))] == ["9-2", "9-10", "9-18446744073709551615", "10-0"]


def test_a_slice_gives_its_own_entries() -> None:
    given = entries("trades:BTCUSDT", TRADE, GAP, GAP, {**TRADE, "price": "1e5"}, TRADE, GAP)
    table = schema.table(given)

    for first in range(6):
        page = schema.entries(table.slice(first, 2), table.schema.metadata, first_row=first)
        assert page == given[first : first + 2]


def test_what_is_recorded_already_is_left_out() -> None:
    given = entries("trades:BTCUSDT", TRADE, GAP, TRADE, TRADE)
    known = pa.array([given[1].entry_id, given[3].entry_id, "1-1"])

    table = schema.written("trades:BTCUSDT", text.gathered(given), without=known)

    assert back(table) == [given[0], given[2]]
    assert schema.written("x", text.gathered(given[1:2]), without=known) is None


@pytest.mark.parametrize(("stream", "fields"), [("trades:BTCUSDT", [TRADE]), ("klines:BTCUSDT:1m", [KLINE])])
def test_all_files_of_a_channel_have_the_same_columns(stream: str, fields: list[dict[str, str]]) -> None:
    without = [{name: value for name, value in each.items() if name != "raw_json"} for each in fields]

    one, other = schema.table(entries(stream, *fields, GAP)), schema.table(entries(stream, *without))

    assert one.schema.remove_metadata() == other.schema.remove_metadata()


@pytest.mark.parametrize(
    ("stream", "fields", "names"),
    [
        ("trades:BTCUSDT", {"pair": "BTCUSDT", "trade_id": "1"}, {"entry_id", "pair", "trade_id"}),
        ("trades:{BTCUSDT}", {"pair": "BTCUSDT", "trade_id": "1"}, {"entry_id", "pair", "trade_id"}),
        ("events:binance", LEDGER, {"entry_id", "pair_", "channel_", "seconds"}),
        ("dlq:x", LETTER, {"entry_id", "entry_id_", "stream", "entry.price"}),
        ("x", {"date": "1", "\udc80": "2"}, {"entry_id", "date_", "\\udc80"}),
    ],
)
def test_no_column_has_a_name_that_the_path_gives(stream: str, fields: dict[str, str], names: set[str]) -> None:
    assert names <= set(schema.table(entries(stream, fields)).column_names)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (None, "not written by a recorder"),
        ({b"pandas": b"{}"}, "not written by a recorder"),
        ({schema.FACTS: b"{"}, "cannot be read"),
        ({schema.FACTS: b'{"stream": "x"}'}, "cannot be read"),
        (
            {schema.FACTS: b'{"version":2,"stream":"x","entries":1,"first_id":"1-1","last_id":"1-1","digest":""}'},
            "version 2",
        ),
    ],
)
def test_a_table_that_is_not_ours_is_refused(metadata: dict[bytes, bytes] | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        schema.facts(metadata)


def test_no_entries_are_no_table() -> None:
    with pytest.raises(ValueError, match="no entries"):
        schema.table([])


def test_texts_join_to_what_they_were_made_of() -> None:
    given = entries("trades:BTCUSDT", *[TRADE, TRADE, GAP] * 7, KLINE)
    pieces = [text.gathered(given[start : start + 5]) for start in range(0, len(given), 5)]

    assert list(text.entries("trades:BTCUSDT", text.joined(pieces))) == given


def test_a_field_may_be_left_out() -> None:
    given = entries("trades:BTCUSDT", {**TRADE, "raw_json": "{}"}, GAP)

    assert list(text.entries("trades:BTCUSDT", text.gathered(given, "raw_json"))) == entries(
        "trades:BTCUSDT", TRADE, GAP
    )
