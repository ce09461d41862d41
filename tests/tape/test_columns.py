"""Texts become numbers, times and words, and are the same texts when they come back."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptostream.tape.columns import Column, as_texts, kind_of, listed, texts, typed

FIELDS = ("price", "trade_id", "ts", "closed", "pair", "anything")
NEAR = st.sampled_from(
    [
        *(
            "0.00000010",
            "0.00000000",
            "45123.50000000",
            "45123.5",
            "5",
            "5.0",
            "-1.5",
            "-0.00",
            "1e5",
            "1E-7",
            ".5",
            "5.",
        ),
        *("007", "+1", "0x1F", " 1", "1_0", "9223372036854775807", "9223372036854775808", "nan", "inf", "", "None"),
        *("123456789012345678901234567890.12345678", "0.123456789012345678", "9" * 39, "0.1234567890123456789"),
        *("2024-11-14T17:30:00.123000", "2024-11-14 17:30:00.123000", "2024-11-14T17:30:00", "2024-11-14T17:30:00Z"),
        *("1969-12-31T23:59:59.999999", "2024-13-14T17:30:00.000000", "2024-11-14T17:30:00.123456789", "0001-01-01"),
        *("true", "false", "True", "1", "0", "buy", "ünï", "\ud800", "\udc80x", "\x00", "a\nb"),
    ]
)
SOME = st.lists(st.none() | NEAR | st.text(), min_size=1, max_size=40)


def there_and_back(field: str, values: list[str | None]) -> tuple[pa.Array, Column]:
    array, column = typed(field, as_texts(values))

    assert listed(texts(array, column)) == values
    return array, column


@settings(deadline=None)  # on a busy machine
@given(st.sampled_from(FIELDS), SOME)
def test_whatever_the_text_it_comes_back(field: str, values: list[str | None]) -> None:
    there_and_back(field, values)


@settings(deadline=None)  # on a busy machine
@given(st.lists(st.decimals(-(10**12), 10**12, places=8).map(lambda value: f"{value:f}"), min_size=1))
def test_decimals_of_eight_places_need_no_exceptions(values: list[str]) -> None:
    array, column = there_and_back("price", [value.replace("-0.00000000", "0.00000000") for value in values])

    assert array.type == pa.decimal128(38, 8)
    assert (column.decimals, column.odd) == (8, {})


@settings(deadline=None)  # on a busy machine
@given(st.sampled_from(FIELDS), SOME, st.data())
def test_a_slice_comes_back_as_the_whole_does(field: str, values: list[str | None], data: st.DataObject) -> None:
    array, column = typed(field, as_texts(values))
    first = data.draw(st.integers(0, len(values) - 1))

    assert listed(texts(array[first:], column, first)) == values[first:]


@pytest.mark.parametrize(
    ("field", "values", "kind", "decimals"),
    [
        ("price", ["1.50", "2.00"], pa.decimal128(38, 8), 2),
        ("price", ["1", "20"], pa.decimal128(38, 8), 0),
        ("price", ["1.5", "2", "0.125"], pa.decimal128(38, 8), "short"),
        ("price", ["0.1234567890"], pa.decimal128(38, 18), 10),
        ("price", ["0.1200000000"], pa.decimal128(38, 8), 10),
        ("qty", ["123456789012345678901234567890.00000000"], pa.decimal128(38, 8), 8),
        ("trade_id", ["1", "9223372036854775807"], pa.int64(), 0),
        ("open_time", ["1731605400000"], pa.int64(), 0),
        ("ts", ["2024-11-14T17:30:00.123000", "1969-12-31T23:59:59.999999"], pa.timestamp("us", "UTC"), 0),
        ("closed", ["true", "false"], pa.bool_(), 0),
        ("pair", ["BTCUSDT", "BTCUSDT"], pa.dictionary(pa.int32(), pa.string()), 0),
        ("rsi", ["27.5"], pa.string(), 0),
    ],
)
def test_a_column_is_what_its_name_promises(field: str, values: list[str], kind: pa.DataType, decimals: object) -> None:
    array, column = there_and_back(field, values)

    assert array.type == kind
    assert column.decimals == decimals
    assert not column.odd


def test_places_that_differ_are_kept_row_by_row() -> None:
    array, column = there_and_back("price", ["1.50", "2.5", "3", "4.00000000"])

    assert [str(value) for value in array.to_pylist()] == ["1.50000000", "2.50000000", "3.00000000", "4.00000000"]
    assert not column.odd


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("price", "1e5", 100_000),
        ("price", "-0.00", 0),
        ("price", "", None),
        ("trade_id", "007", 7),
        ("trade_id", "9223372036854775808", None),
        ("closed", "True", True),
    ],
)
def test_a_text_that_a_column_cannot_give_back_stands_beside_it(field: str, text: str, value: object) -> None:
    good = {"price": "1.00000000", "trade_id": "1", "closed": "true"}[field]
    array, column = there_and_back(field, [good, text, good])

    assert column.odd == {1: text}
    assert array[1].as_py() == value


def test_a_column_that_is_mostly_no_numbers_stays_text() -> None:
    array, column = there_and_back("trade_id", [f"{number}-uuid" for number in range(100)])

    assert array.type == pa.string()
    assert (column.kind, column.odd) == ("text", {})


def test_a_few_that_are_none_do_not_make_text_of_a_column_of_numbers() -> None:
    array, column = there_and_back("trade_id", [str(number) if number % 20 else "none" for number in range(200)])

    assert array.type == pa.int64()
    assert len(column.odd) == 10


def test_decimals_become_longer_only_for_what_needs_it() -> None:
    array, _ = there_and_back("price", ["1.5", "0.000000000000000001", "many"])

    assert array.type == pa.decimal128(38, 18)
    assert array[1].as_py() is not None


def test_names_promise_kinds() -> None:
    fields = ("price", "taker_buy_volume", "seconds", "gap_from", "count", "close_time", "side", "frame")

    assert [kind_of(field) for field in fields] == [*["decimal"] * 3, *["integer"] * 3, "word", "text"]
