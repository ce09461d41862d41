"""The process under test of `recorder`: records as many entries as told, by one of three ways, and says how fast."""

import argparse
import asyncio
import os
import random
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from benchmarks.market import pairs
from benchmarks.meter import cost, tell
from benchmarks.recorder import PAIRS
from cryptostream import logs
from cryptostream.model.codec import iso
from cryptostream.model.events import Entry
from cryptostream.tape.record import Parquet

_T0_MS = 1_731_605_400_000
_TOGETHER = 100
"""Entries of a stream that one read brings."""
_PART = 1_000_000
_FRAME = '{"e":"trade","E":%d,"s":"%s","t":%d,"p":"%s","q":"%s","T":%d,"m":true,"M":true}'
Write = Callable[[Sequence[Entry]], Awaitable[object]]


async def serve(folder: Path, way: str) -> None:
    """Answer each number with what it took to record so many entries."""
    for line in sys.stdin:
        entries = int(line)
        used_s, started = cost()["cpu_s"], time.perf_counter()
        making_s = await (_naively if way == "pylist" else _recorded)(folder, entries, way)
        seconds, used_s = time.perf_counter() - started, cost()["cpu_s"] - used_s - making_s
        most_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sizes = _sizes(folder)
        facts = {"rate": entries / seconds, "us": used_s / entries * 1e6, "rss_mib": most_mib}
        tell({**facts, "bytes": sum(sizes) / entries, "files": len(sizes)})


def _sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*.parquet")]


async def _recorded(folder: Path, entries: int, way: str) -> float:
    making = _Making(raw_json=way == "raw")
    async with Parquet(str(folder), compact="0s") as sink:
        for batch in making.batches(entries):
            await sink.write(batch)
            await asyncio.sleep(0)  # as a source that reads a socket would
    return making.used_s


async def _naively(folder: Path, entries: int, _way: str) -> float:
    """A dict per entry, a table of text per part: no decimals, no digest, no entry twice found out."""
    making = _Making(raw_json=False)
    rows: dict[str, list[dict[str, str]]] = {}
    for batch in making.batches(entries):
        for entry in batch:
            rows.setdefault(entry.stream, []).append({"entry_id": entry.entry_id, **entry.fields})
        if sum(map(len, rows.values())) >= _PART / 4:
            _write(folder, rows)
    _write(folder, rows)
    return making.used_s


def _write(folder: Path, rows: dict[str, list[dict[str, str]]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stream, those in rows.items():
        path = folder / f"{stream.replace(':', '-')}.{those[0]['entry_id']}.parquet"
        pq.write_table(pa.Table.from_pylist(those), path, compression="zstd")
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    rows.clear()


class _Making:
    """Trades as a group hands them over: some of each stream in a batch, each text an object of its own."""

    def __init__(self, *, raw_json: bool) -> None:
        self.used_s = 0.0
        self._ids = count(10_000_000)
        self._raw_json = raw_json
        self._chance = random.Random(1)
        self._prices = [f"{self._chance.uniform(40_000, 60_000):.2f}000000" for _ in range(5000)]
        self._quantities = [f"{self._chance.uniform(0.00001, 1):.5f}000" for _ in range(5000)]

    def batches(self, entries: int) -> Iterator[list[Entry]]:
        streams = pairs(PAIRS)
        for start in range(0, entries, _TOGETHER * 10):
            began_s = time.thread_time()
            some = [streams[(start // 1000 * 10 + place) % PAIRS] for place in range(10)]
            batch = [self._trade(pair, next(self._ids)) for pair in some for _ in range(_TOGETHER)]
            self.used_s += time.thread_time() - began_s
            yield batch

    def _trade(self, pair: str, trade_id: int) -> Entry:
        ms = _T0_MS + trade_id // 200
        price, qty = self._prices[trade_id % 4999], self._quantities[trade_id % 4993]
        fields = {"exchange": "binance", "pair": pair, "price": price, "qty": qty, "ts": iso(ms * 1000)}
        fields["side"] = "buy" if trade_id % 3 else "sell"
        fields["trade_id"] = str(trade_id)
        if self._raw_json:
            fields["raw_json"] = _FRAME % (ms, pair, trade_id, price, qty, ms)
        return Entry(f"trades:{pair}", f"{ms}-{trade_id}", fields)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--way", required=True, choices=["ours", "raw", "pylist"])
    chosen = parser.parse_args()
    logs.configure(verbosity=-1)
    asyncio.run(serve(chosen.folder, chosen.way))


if __name__ == "__main__":
    main()
