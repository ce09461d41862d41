"""What docs/databases.md shows is what there is, and its queries run."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from cryptostream.sql.postgres import TYPES, Postgres
from cryptostream.sql.rows import TABLES
from cryptostream.sql.sqlite import Sqlite
from cryptostream.sql.statements import create
from tests.sql.market import gap, trade

PAGE = Path(__file__).parents[2] / "docs" / "databases.md"
ENTRIES = [trade(number) for number in range(1, 31)] + [gap(31, 40)]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_table_that_is_shown_is_the_one_that_is_made() -> None:
    assert blocks("sql")[0].strip() == create('"trades"', TABLES["trades"], TYPES)


def test_every_table_is_named() -> None:
    assert all(f"`{name}`" in PAGE.read_text() for name in TABLES)


async def test_the_queries_of_postgresql_run(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB", postgres_url)
    async with Postgres(url_env="DB") as sink:
        await sink.write(ENTRIES)
    with psycopg.connect(postgres_url) as connection:
        bars, gaps = [connection.execute(query.encode()).fetchall() for query in blocks("sql")[1:]]
    assert [[str(value) for value in bar[1:]] for bar in bars] == [
        ["45001.50000000", "45030.50000000", "45001.50000000", "45030.50000000", "3.69000000"]
    ]
    assert gaps == [("trades:BTCUSDT", 31, 40, "unfillable", None)]


async def test_the_queries_of_sqlite_run(tmp_path: Path) -> None:
    async with Sqlite(str(tmp_path / "market.db")) as sink:
        await sink.write(ENTRIES)
    with closing(sqlite3.connect(tmp_path / "market.db")) as database:
        [found] = [database.execute(query).fetchall() for query in blocks("sqlite")]
    assert found == [("BTCUSDT", pytest.approx(45016.0), 30)]
