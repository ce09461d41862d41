"""SQLite: one file, found and kept whole, waited for while it cannot be written."""

import asyncio
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import ConfigError, CryptostreamError, Unreachable
from cryptostream.sql import sqlite
from cryptostream.sql.sqlite import Sqlite
from cryptostream.testing import ManualClock
from tests.sql.market import trade


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "market.db"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt does not wait for another writer."""
    monkeypatch.setattr(sqlite, "BUSY_S", 0.0)


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT count(*) FROM trades").fetchone()[0])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await SystemClock().sleep(0.001)


async def test_its_folder_is_made(tmp_path: Path) -> None:
    async with Sqlite(str(tmp_path / "a" / "b" / "market.db")) as sink:
        await sink.write([trade(1)])
    assert count(tmp_path / "a" / "b" / "market.db") == 1


async def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with Sqlite("~/market.db"):
        assert (tmp_path / "market.db").is_file()


async def test_a_batch_is_on_disk_before_it_counts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **options: opened.append(connect(*args, **options)) or opened[0]
    )
    async with Sqlite(str(path)):
        settings = [opened[0].execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert settings == ["wal", 2]


async def test_it_is_one_file_again_when_the_sink_is_closed(path: Path) -> None:
    async with Sqlite(str(path)) as sink:
        await sink.write([trade(1)])
    assert [found.name for found in path.parent.iterdir()] == ["market.db"]


async def test_others_read_while_it_is_written(path: Path) -> None:
    async with Sqlite(str(path)) as sink:
        await sink.write([trade(1)])
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            before = reader.execute("SELECT count(*) FROM trades").fetchone()
            await sink.write([trade(2)])
            assert reader.execute("SELECT count(*) FROM trades").fetchone() == before == (1,)
    assert count(path) == 2


@pytest.mark.usefixtures("impatient")
async def test_another_writer_is_waited_for(path: Path, clock: ManualClock) -> None:
    async with Sqlite(str(path), clock=clock) as sink:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(sink.write([trade(1)]))
            await until(lambda: sink.trouble == f"{path}: database is locked")
            assert not waiting.done()
        await waiting
        assert sink.trouble == ""
    assert count(path) == 1


@pytest.mark.usefixtures("impatient")
async def test_a_start_waits_half_a_minute_for_another_writer(path: Path, clock: ManualClock) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unreachable, match="database is locked"):
            await Sqlite(str(path), clock=clock).__aenter__()
    assert 30 <= clock.monotonic() <= 35


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.row(22)
async def test_a_full_disk_is_waited_for_and_nothing_is_torn(path: Path, clock: ManualClock) -> None:
    async with Sqlite(str(path), clock=clock) as sink:
        await sink.write([trade(number) for number in range(10)])
        with full_disk(100_000):
            waiting = asyncio.create_task(sink.write([trade(number) for number in range(2000)]))
            await until(lambda: sink.trouble != "")
            assert not waiting.done()
            assert count(path) == 10
        await waiting
        assert sink.trouble == ""
    assert count(path) == 2000
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_file_that_was_deleted_is_not_written_any_more(path: Path) -> None:
    async with Sqlite(str(path)) as sink:
        await sink.write([trade(1)])
        for found in path.parent.iterdir():
            found.unlink()
        await sink.write([trade(2)])
        assert count(path) == 1


async def test_a_file_of_another_kind_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("my diary\n" * 1000)
    with pytest.raises(ConfigError, match=r"market\.db: file is not a database"):
        await Sqlite(str(path)).__aenter__()
    assert path.read_text() == "my diary\n" * 1000


@pytest.mark.parametrize("name", [".", "file/market.db"])
async def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"cannot write {tmp_path}"):
        await Sqlite(str(tmp_path / name)).__aenter__()


async def test_a_rule_of_somebody_else_that_forbids_a_row_is_told(path: Path) -> None:
    async with Sqlite(str(path)) as sink:
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE UNIQUE INDEX one ON trades (pair)")
        with pytest.raises(CryptostreamError, match="UNIQUE constraint failed"):
            await sink.write([trade(1), trade(2)])
        assert count(path) == 0
        await sink.write([trade(3)])
    assert count(path) == 1


@pytest.mark.parametrize("params", [{"path": ""}, {"path": 5}, {"path": None}])
def test_a_path_is_a_name(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="path"):
        Sqlite(**params)
