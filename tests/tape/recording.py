"""What tests of the recorder share: trades to record, and what a folder holds."""

from pathlib import Path

import pyarrow.parquet as pq

from cryptostream.model.events import Entry
from cryptostream.tape import schema

START_MS = 1_731_605_400_000  # 2024-11-14T17:30:00Z


def trades(count: int, pair: str = "BTCUSDT", *, start: int = START_MS) -> list[Entry]:
    """So many trades of a pair, a millisecond apart."""
    return [_trade(pair, start + number, number) for number in range(count)]


def entries_in(folder: Path) -> dict[str, list[Entry]]:
    """Every entry of every closed file, by stream, in the order of their ids; one that is there twice comes twice."""
    found: dict[str, list[Entry]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        table = pq.ParquetFile(path).read()
        for entry in schema.entries(table, table.schema.metadata):
            found.setdefault(entry.stream, []).append(entry)
    return {stream: sorted(found[stream], key=_place) for stream in sorted(found)}


def _place(entry: Entry) -> tuple[int, ...]:
    return tuple(map(int, entry.entry_id.split("-")))


def _trade(pair: str, ms: int, number: int) -> Entry:
    fields = {
        "exchange": "binance",
        "pair": pair,
        "price": f"{45_000 + number % 777}.{number % 100:02d}000000",
        "qty": f"0.{number % 9973 + 1:08d}",
        "ts": f"2024-11-14T17:{number // 60_000 % 60:02d}:{number // 1000 % 60:02d}.{number % 1000:03d}000",
        "side": "buy" if number % 3 else "sell",
        "trade_id": str(10**9 + number),
    }
    return Entry(f"trades:{pair}", f"{ms}-{10**9 + number}", fields)
