"""Days of made-up trades of one pair, the same each time, in the files that each contestant of `backtest` reads.

Made once and kept in the cache: what a recorder of ours would have left (Parquet by the day), one plain Parquet file of
numbers for whoever reads columns, and the events of hftbacktest.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from benchmarks.report import say
from cryptostream.tape import parts, schema
from cryptostream.tape.text import Text

PAIR: Final = "BTCUSDT"
STREAM: Final = f"trades:{PAIR}"
DAYS: Final = 10
DAY_MS = 86_400_000
MINUTE_MS = 60_000
_VERSION = 4
_FIRST_DAY = 20_758  # since the epoch
_FIRST_ID = 1_000_000_000
_CENTS = 6_000_000


@dataclass(frozen=True)
class Made:
    """Where the files are."""

    folder: Path

    @property
    def recorded(self) -> list[Path]:
        """The folders of our recorder's files, one for each day."""
        return sorted(self.folder.glob("recorded/*/*/date=*"))

    @property
    def plain(self) -> Path:
        """One row group of numbers: `ts` (ms, UTC), `trade_id`, `price`, `qty`, `buy`."""
        return self.folder / "plain.parquet"

    @property
    def events(self) -> Path:
        """Hftbacktest's own."""
        return self.folder / "events.npz"


@dataclass(frozen=True)
class Day:
    """One day's trades by columns."""

    number: int
    ms: Any
    trade_id: Any
    cents: Any
    lots: Any
    """Of 0.00001."""
    buy: Any

    @cached_property
    def price(self) -> Any:
        """As the text of two decimals is read."""
        return self.cents / 100.0

    @cached_property
    def qty(self) -> Any:
        return self.lots / 100_000.0


def made(trades: int) -> Made:
    """So many trades in all, as many each day; made if they are not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cryptostream-bench"
    folder = cache / f"trades-{trades}-v{_VERSION}"
    if not folder.exists():
        say(f"making {trades:,} trades in {folder} (once)")
        draft = folder.with_name(f".{folder.name}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        _write(Made(draft), [*_days(trades)])
        draft.rename(folder)
    return Made(folder)


def _days(trades: int) -> Iterator[Day]:
    """A walk with a spread of a cent: in three of ten trades the market moves, by some 2 % in a day."""
    chance = np.random.default_rng(5)
    last, each = float(_CENTS), trades // DAYS
    scale = 0.02 * _CENTS / np.sqrt(each * 0.3 * 2)
    for number in range(DAYS):
        ms = (_FIRST_DAY + number) * DAY_MS + np.sort(chance.integers(0, DAY_MS, each))
        walk = last + np.cumsum(np.where(chance.random(each) < 0.3, chance.laplace(0, scale, each), 0.0))
        last, buy = float(walk[-1]), chance.random(each) < 0.5
        lots = np.maximum(1, chance.lognormal(6, 2, each)).astype(np.int64)
        ids = _FIRST_ID + number * each + np.arange(each)
        yield Day(number, ms, ids, np.floor(walk).astype(np.int64) + buy, lots, buy)


def _write(to: Made, days: list[Day]) -> None:
    for day in days:
        _record(to.folder / "recorded", day)
    _write_plain(to.plain, days)
    _write_events(to.events, days)


def _record(root: Path, day: Day) -> None:
    """One part, as a recorder that has merged a day's would have it."""
    columns = {
        "exchange": _same("binance", day),
        "pair": _same(PAIR, day),
        "price": _decimals(day.cents, "0.01"),
        "qty": _decimals(day.lots, "0.00001"),
        "ts": _times(day.ms),
        "side": pc.if_else(pa.array(day.buy), "buy", "sell"),
        "trade_id": pa.array(day.trade_id).cast(pa.string()),
    }
    ids = pc.binary_join_element_wise(pa.array(day.ms).cast(pa.string()), columns["trade_id"], "-")
    form = (tuple(range(len(columns))),)
    table = schema.written(STREAM, Text(ids, tuple(columns), list(columns.values()), form, [(0, len(ids))]))
    assert table is not None
    first = {name: column[0].as_py() for name, column in columns.items()}
    folder = parts.folder_of(root, STREAM, first, _FIRST_DAY + day.number)
    folder.mkdir(parents=True)
    parts.save(folder / parts.file_name(STREAM, ids[0].as_py()), parts.packed(table, "zstd"))


def _same(text: str, day: Day) -> pa.Array:
    return pa.array([text]).take(pa.array(np.zeros(len(day.ms), np.int64)))


def _decimals(whole: Any, step: str) -> pa.Array:
    return pc.multiply(pa.array(whole).cast(pa.decimal128(19, 0)), pa.scalar(Decimal(step))).cast(pa.string())


def _times(ms: Any) -> pa.Array:
    return pc.utf8_replace_slice(pa.array(ms * 1000).cast(pa.timestamp("us")).cast(pa.string()), 10, 11, "T")


def _write_plain(path: Path, days: list[Day]) -> None:
    columns = {
        "ts": pa.array(_all(days, "ms"), pa.timestamp("ms")),
        **{name: _all(days, name) for name in ("trade_id", "price", "qty", "buy")},
    }
    pq.write_table(pa.table(columns), path, compression="zstd")


def _write_events(path: Path, days: list[Day]) -> None:
    """Trades, and the best bid and offer at the end of each minute: the last price and a cent to either side.

    Not packed, which is the quickest for it to read.
    """
    trades, quotes = _trade_events(days), _quote_events(days)
    events = np.concatenate([trades, quotes])
    np.savez(path, data=events[np.argsort(events["exch_ts"], kind="stable")])


_EVENT = np.dtype(
    [
        ("ev", "u8"),
        ("exch_ts", "i8"),
        ("local_ts", "i8"),
        ("px", "f8"),
        ("qty", "f8"),
        ("order_id", "u8"),
        ("ival", "i8"),
        ("fval", "f8"),
    ],
    align=True,
)
# Its flags: what it is, of which side, and that both the exchange and we see it.
_SEEN, _BUY, _SELL, _DEPTH, _TRADE = 1 << 31 | 1 << 30, 1 << 29, 1 << 28, 1, 2


def _trade_events(days: list[Day]) -> Any:
    events = np.zeros(sum(len(day.ms) for day in days), _EVENT)
    events["ev"] = np.where(_all(days, "buy"), _SEEN | _TRADE | _BUY, _SEEN | _TRADE | _SELL)
    events["px"], events["qty"] = _all(days, "price"), _all(days, "qty")
    events["exch_ts"] = events["local_ts"] = _all(days, "ms") * 1_000_000
    return events


def _quote_events(days: list[Day]) -> Any:
    """Of each minute four: the quotes of the minute before are taken away, then these stand."""
    ms, cents = _all(days, "ms"), _all(days, "cents")
    ends = np.flatnonzero(np.diff(ms // MINUTE_MS))
    last = cents[ends] / 100.0
    before = np.append(last[0], last[:-1])
    events = np.zeros((len(ends), 4), _EVENT)
    events["ev"] = [_SEEN | _DEPTH | _BUY, _SEEN | _DEPTH | _SELL] * 2
    events["px"] = np.stack([before - 0.01, before + 0.01, last - 0.01, last + 0.01], axis=1)
    events["qty"] = [0.0, 0.0, 1000.0, 1000.0]
    at = (ms[ends] // MINUTE_MS + 1) * MINUTE_MS * 1_000_000 - 1_000  # a microsecond before the minute is over
    events["exch_ts"] = events["local_ts"] = at[:, None]
    return events.ravel()


def _all(days: list[Day], name: str) -> Any:
    return np.concatenate([getattr(day, name) for day in days])
