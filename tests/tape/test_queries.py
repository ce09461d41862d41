"""The page about recording is true: its queries run as they stand there, on the fixtures, recorded by the sink."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from cryptostream.bus.pack import Entries
from cryptostream.engine.clock import SystemClock
from cryptostream.model.events import Entry
from cryptostream.tape.parquet import Recording
from cryptostream.tape.play import FramePlayer
from cryptostream.tape.reader import find
from cryptostream.tape.record import Parquet
from cryptostream.venues.binance import Binance

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/recording.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?);\n```\n\n```csv\n(.*?)```", PAGE, re.DOTALL)
"""Each with its answer."""


@pytest.fixture
async def entries() -> list[Entry]:
    """What the fixtures are as entries, each id once, as a stream holds them."""
    player = FramePlayer(find([ROOT / "fixtures"]).frames, Binance().replay(), clock=SystemClock())
    made, entry_of = {}, Entries()
    async for batch in player.batches():
        for entry in map(entry_of, batch.events):
            made.setdefault((entry.stream, entry.entry_id), entry)
    return list(made.values())


@pytest.fixture
async def folder(entries: list[Entry], tmp_path: Path) -> Path:
    async with Parquet(str(tmp_path / "parquet"), compact="0s") as sink:
        await sink.write(entries)
    return tmp_path / "parquet"


def asked(folder: Path, query: str) -> list[tuple[str, ...]]:
    """The names of a query's columns, then its rows, as text."""
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        connection.sql("SET TimeZone = 'UTC'")
        inner = connection.sql(query.replace("data/parquet", str(folder)))
        texts = connection.sql(f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ({inner.sql_query()})")
        return [tuple(texts.columns), *texts.fetchall()]


def test_every_entry_comes_back(folder: Path, entries: list[Entry]) -> None:
    recording = Recording(folder)
    found = [e for stream in recording.streams(["*"]) for page in recording.after(stream, "0-0") for e in page]

    assert sorted(found, key=repr) == sorted(entries, key=repr)


def test_the_page_has_queries() -> None:
    assert len(QUERIES) == PAGE.count("```sql") > 4


@pytest.mark.parametrize(("query", "answer"), QUERIES, ids=lambda text: " ".join(text.split()[:4]))
def test_a_query_of_the_page_has_the_answer_that_stands_there(folder: Path, query: str, answer: str) -> None:
    assert "".join(",".join(row) + "\n" for row in asked(folder, query)) == answer


def test_turnover_is_right_to_the_last_digit(folder: Path, entries: list[Entry]) -> None:
    trades = [entry.fields for entry in entries if entry.stream == "trades:BTCUSDT"]
    expected = sum(Decimal(trade["price"]) * Decimal(trade["qty"]) for trade in trades)

    [pair, count, turnover, *_] = asked(folder, QUERIES[0][0])[1]
    assert (pair, int(count), Decimal(turnover)) == ("BTCUSDT", len(trades), expected)


def test_columns_and_partitions_have_the_types_that_are_told(folder: Path) -> None:
    query = f"DESCRIBE SELECT * FROM read_parquet('{folder}/channel=trades/**/*.parquet')"
    types = {name: kind for name, kind, *_ in asked(folder, query)[1:]}

    assert types["price"] == types["qty"] == "DECIMAL(38,8)"
    assert (types["trade_id"], types["ts"], types["date"]) == ("BIGINT", "TIMESTAMP WITH TIME ZONE", "DATE")
    assert types["entry_id"] == types["pair"] == types["channel"] == "VARCHAR"


def test_one_folder_of_a_channel_is_one_table_to_pyarrow(folder: Path) -> None:
    import pyarrow.parquet as pq

    found = pq.read_table(folder / "channel=trades", filters=[("pair", "=", "BTCUSDT")])
    assert found.num_rows == int(asked(folder, QUERIES[0][0])[1][1])
