"""The round trips of a backtest as a Parquet file."""

import os
from collections.abc import Iterable
from pathlib import Path

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


def write(path: Path, books: Iterable[Book]) -> int:
    """Write them, whole or not at all; how many there are. `closed` is null for one that was open at the end.

    Raises OSError.
    """
    rows = [
        {"strategy": book.strategy, "exchange": book.exchange, "pair": book.pair}
        | {name: getattr(trip, name) for name in SCHEMA.names[3:]}
        for book in books
        for trip in book.trips
    ]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), draft, compression="zstd")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return len(rows)
