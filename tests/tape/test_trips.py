"""The round trips of a backtest as a Parquet file."""

import io
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]
from msgspec.structs import replace

from cryptostream.tape import trips
from tests.backtest.results import result

PAIRS = ("BTCUSDT", "ETHUSDT")


def written(*strategies: str) -> tuple[int, list[dict[str, Any]]]:
    made, file = result(bars=120, pairs=PAIRS, strategies=strategies), io.BytesIO()
    for pair in made.pairs:
        for book in pair.books.values():
            book.trips[-1] = replace(book.trips[-1], closed=None)
    count = trips.write(file, [book for pair in made.pairs for book in pair.books.values()])
    return count, pq.read_table(io.BytesIO(file.getvalue())).to_pylist()


def test_every_trip_of_every_book_is_a_row() -> None:
    count, rows = written("rsi", "ema")
    books = [book for pair in result(120, PAIRS, ("rsi", "ema")).pairs for book in pair.books.values()]
    assert count == len(rows) == sum(len(book.trips) for book in books) > 4
    assert {(row["strategy"], row["pair"]) for row in rows} == {
        (strategy, pair) for strategy in ("rsi", "ema") for pair in PAIRS
    }


def test_a_row_is_the_trip() -> None:
    trip = result(bars=120).pairs[0].books["macd_rsi"].trips[0]
    row = written("macd_rsi")[1][0]
    assert row["opened"] == datetime.fromtimestamp(trip.opened / 1e6, UTC)
    for name in ("side", "qty", "entry_price", "exit_price", "pnl", "fees", "reason_in", "reason_out"):
        assert row[name] == getattr(trip, name)


def test_a_trip_that_is_still_open_has_no_end() -> None:
    rows = [row for row in written("rsi")[1] if row["pair"] == "BTCUSDT"]
    assert [row["closed"] is None for row in rows] == [False, False, True]


def test_no_trips_are_a_file_too() -> None:
    file = io.BytesIO()
    assert trips.write(file, []) == 0
    assert pq.read_table(io.BytesIO(file.getvalue())).schema.names == trips.SCHEMA.names
