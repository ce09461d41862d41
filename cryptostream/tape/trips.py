"""The round trips of a backtest as a Parquet file."""

from collections.abc import Iterable
from typing import BinaryIO

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from cryptostream.backtest.result import Book

_TIME = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        ("strategy", pa.string()),
        ("exchange", pa.string()),
        ("pair", pa.string()),
        ("side", pa.string()),
        ("qty", pa.float64()),
        ("opened", _TIME),
        ("closed", _TIME),
        ("entry_price", pa.float64()),
        ("exit_price", pa.float64()),
        ("pnl", pa.float64()),
        ("fees", pa.float64()),
        ("reason_in", pa.string()),
        ("reason_out", pa.string()),
    ]
)


def write(file: BinaryIO, books: Iterable[Book]) -> int:
    """Write them; how many there are. `closed` is null for one that was open at the end. Raises OSError."""
    rows = [
        {"strategy": book.strategy, "exchange": book.exchange, "pair": book.pair}
        | {name: getattr(trip, name) for name in SCHEMA.names[3:]}
        for book in books
        for trip in book.trips
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file, compression="zstd")
    return len(rows)
