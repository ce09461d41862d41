"""Entries to a SQLite file, one row each however often they are delivered.

The journal is a write-ahead log, so that others may read while we write; a batch is one transaction and is on disk
(`synchronous=FULL`) before it counts as written. SQLite has no decimal type: prices are text with all their digits.
"""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import ConfigError, CryptostreamError
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock, Sink
from cryptostream.sql.outage import START_S, Outage
from cryptostream.sql.rows import TABLES, Kind, Row, rows
from cryptostream.sql.statements import PLACE, create, table_names, upsert

BUSY_S = 5.0
"""How long one attempt waits for another writer of the file."""

TYPES = {
    Kind.TEXT: "TEXT",
    Kind.DECIMAL: "TEXT",
    Kind.INTEGER: "INTEGER",
    Kind.FLAG: "INTEGER",
    Kind.TIME: "TEXT",
    Kind.JSON: "TEXT",
}
_PASSES = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM),
)
_UNUSABLE = (
    *(sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM),
    sqlite3.SQLITE_ERROR,  # our statements are always the same: a table has another shape
)
_CLOCK = SystemClock()


class Sqlite(Sink):
    """Upserts entries into a SQLite file, a table for each channel; a batch is accepted once it is on disk.

    `table` is what the tables are called, with `{channel}` in it; `raw_json: false` leaves the frames out. While the
    disk is full or somebody else holds the file, `write` waits and `trouble` says why.

    Raises ConfigError for parameters and files that cannot be used, Unreachable if the file stays locked at the start.
    """

    def __init__(self, path: str, table: str = PLACE, raw_json: bool = True, *, clock: Clock = _CLOCK) -> None:
        if not isinstance(path, str) or not path or not isinstance(raw_json, bool):
            raise ConfigError("sqlite wants path: the name of a file, and raw_json: true or false")
        self._path = _expanded(path)
        self._raw_json = raw_json
        self._names = table_names(table, schemas=False)
        self._upserts = {name: _upsert(name, called) for name, called in self._names.items()}
        self._outage = Outage(str(self._path), clock)
        self._database: sqlite3.Connection | None = None

    @property
    def trouble(self) -> str:
        """Why nothing can be written now; empty while it can."""
        return self._outage.trouble

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, "sqlite")
        try:
            await self._write({}, patience_s=START_S)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Behind whatever the thread is still writing: a cancelled `write` is not a cancelled transaction.
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def write(self, events: Sequence[Entry]) -> None:
        """Write a batch and bring it to disk; it waits for as long as that cannot be done."""
        if events:
            await self._write(rows(events, raw_json=self._raw_json))

    async def _write(self, made: Mapping[str, Sequence[Row]], patience_s: float = inf) -> None:
        loop = asyncio.get_running_loop()
        await self._outage.through(
            lambda: loop.run_in_executor(self._thread, self._attempt, made), patience_s=patience_s
        )

    def _attempt(self, made: Mapping[str, Sequence[Row]]) -> str:
        """Write in one transaction. Returns why that cannot be now; raises what does not pass by waiting."""
        try:
            database = self._opened()
            database.execute("BEGIN IMMEDIATE")
            for name, table_rows in made.items():
                database.executemany(self._upserts[name], table_rows)
            database.execute("COMMIT")
        except sqlite3.Error as error:
            self._close()
            return self._reason(error)
        return ""

    def _opened(self) -> sqlite3.Connection:
        if self._database is not None and self._is_ours():
            return self._database
        self._close()
        self._database = database = self._connected()
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        for name, table in TABLES.items():
            database.execute(create(self._names[name], table, TYPES, " WITHOUT ROWID"))
            database.execute("EXPLAIN " + self._upserts[name], [None] * len(table.all_columns))
        return database

    def _connected(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot write {self._path}: {error.strerror}") from error
        if self._path.exists() and not self._path.is_file():
            raise ConfigError(f"cannot write {self._path}: it is not a file")
        database = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        self._file = _identity(self._path)
        return database

    def _is_ours(self) -> bool:
        """Whether what we write to is still what others find: SQLite itself goes on writing into a deleted file."""
        return _identity(self._path) == self._file

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _reason(self, error: sqlite3.Error) -> str:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _PASSES:
            return str(error)
        told = f"cannot write {self._path}: {error}"
        if code in _UNUSABLE:
            hint = "table: gives ours another name" if code == sqlite3.SQLITE_ERROR else ""
            raise ConfigError(told, hint=hint) from error
        raise CryptostreamError(told) from error


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(f"sqlite: {path[:80]!a} lies in a home folder and there is none") from error


def _upsert(name: str, called: str) -> str:
    table = TABLES[name]
    values = ", ".join("?" * len(table.all_columns))
    return upsert(called, table, f"VALUES ({values})", differs="IS NOT")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
