"""Entries to PostgreSQL or TimescaleDB, one row each however often they are delivered.

A batch is one transaction: COPY into temporary tables, from there an upsert by stream and entry id. COPY is the
fastest way in (https://www.postgresql.org/docs/current/populate.html#POPULATE-COPY-FROM) and knows no upsert.
"""

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import ConfigError, CryptostreamError
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock, Sink
from cryptostream.sql.address import address
from cryptostream.sql.outage import START_S, Outage
from cryptostream.sql.rows import KEY, TABLES, Kind, Row, rows
from cryptostream.sql.statements import PLACE, columns, create, listed, quoted, table_names, upsert

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Error

TYPES = {
    Kind.TEXT: "TEXT",
    Kind.DECIMAL: "NUMERIC",
    Kind.INTEGER: "BIGINT",
    Kind.FLAG: "BOOLEAN",
    Kind.TIME: "TIMESTAMPTZ",
    Kind.JSON: "JSONB",
}
_LOCK = 0x63727970746F  # "crypto": two processes that make the tables at once would clash in the catalogue
_PASSES = ("08", "40", "53", "55", "57", "58")
"""Classes of SQLSTATE that a later attempt may not meet: the connection, a conflict, resources, locks, an operator, the
machine. https://www.postgresql.org/docs/current/errcodes-appendix.html"""
_READ_ONLY = "25006"
"""A standby answered: the primary is elsewhere, or this one is about to be it."""
_DROPPED = "42P01"
"""A table is gone; the next connection makes it again."""
_REFUSES = ("28", "3D", "3F", "42")
"""Logins, databases, schemas, and what we may not do or what a table of that name has not."""
# A commit that a crash of the server may take back would be acknowledged and lost.
_DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
_CLOCK = SystemClock()


class Postgres(Sink):
    """Upserts entries into PostgreSQL or TimescaleDB, a table for each channel; needs the extra `postgres`.

    The address is in the environment variable that `url_env` names, or in the file that `<url_env>_FILE` names; an
    address without a password may be given as `url`. `table` is what the tables are called, with `{channel}` in it and
    a schema before it if one is wanted; `raw_json: false` leaves the frames out. While the server is away, `write`
    waits and `trouble` says why.

    Raises ConfigError for parameters, a login or tables that cannot be used, Unreachable if no server answers for 30 s
    at the start.
    """

    def __init__(
        self,
        url: str | None = None,
        url_env: str | None = None,
        table: str = PLACE,
        raw_json: bool = True,
        *,
        clock: Clock = _CLOCK,
    ) -> None:
        if not find_spec("psycopg"):
            raise ConfigError("the sink postgres needs a package", hint="pip install 'cryptostream[postgres]'")
        if not isinstance(raw_json, bool):
            raise ConfigError("postgres: raw_json should be true or false")
        self._address = address(url, url_env, os.environ)
        self._raw_json = raw_json
        self._names = table_names(table, schemas=True)
        self._outage = Outage(self._address.shown, clock)
        self._connection: AsyncConnection[Any] | None = None

    @property
    def trouble(self) -> str:
        """Why nothing can be written now; empty while it can."""
        return self._outage.trouble

    async def __aenter__(self) -> Self:
        await self._write({}, patience_s=START_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def write(self, events: Sequence[Entry]) -> None:
        """Commit a batch; it waits for as long as that cannot be done."""
        if events:
            await self._write(rows(events, raw_json=self._raw_json))

    async def _write(self, made: Mapping[str, Sequence[Row]], patience_s: float = inf) -> None:
        await self._outage.through(lambda: self._attempt(made, starts=patience_s < inf), patience_s=patience_s)

    async def _attempt(self, made: Mapping[str, Sequence[Row]], *, starts: bool) -> str:
        """Write in one transaction. Returns why that cannot be now; raises what does not pass by waiting."""
        from psycopg import Error

        try:
            connection = self._connection or await self._connected()
            async with connection.transaction():
                for name, table_rows in sorted(made.items()):
                    await self._put(connection, name, table_rows)
        except Error as error:
            await self._close()
            return self._reason(error, starts=starts)
        return ""

    async def _put(self, connection: "AsyncConnection[Any]", name: str, table_rows: Sequence[Row]) -> None:
        arriving = f"COPY {_arriving(name)} ({listed(tuple(TABLES[name].all_columns))}) FROM STDIN"
        async with connection.cursor() as cursor:
            async with cursor.copy(arriving.encode()) as copy:
                for row in table_rows:
                    await copy.write_row(row)
            await cursor.execute(self._upsert(name))

    def _upsert(self, name: str) -> bytes:
        # In the order of the key: two writers of the same rows wait for each other instead of locking each other out.
        every = listed(tuple(TABLES[name].all_columns))
        arrived = f"SELECT {every} FROM {_arriving(name)} ORDER BY {listed(KEY)}"  # noqa: S608 - see statements.py
        return upsert(self._names[name], TABLES[name], arrived, differs="IS DISTINCT FROM").encode()

    async def _connected(self) -> "AsyncConnection[Any]":
        from psycopg import AsyncConnection

        connection = await AsyncConnection.connect(self._address.conninfo, autocommit=True)
        try:
            await self._prepare(connection)
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        return connection

    async def _prepare(self, connection: "AsyncConnection[Any]") -> None:
        """Make what is missing, and write nothing at all to every table: what would not do is told at the start."""
        await connection.execute(_DURABLE)
        asked = "SELECT count(*) FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL"
        [(missing,)] = await (await connection.execute(asked, [list(self._names.values())])).fetchall()
        if missing:
            await self._create(connection)
        for name, table in TABLES.items():
            temporary = f"CREATE TEMPORARY TABLE {_arriving(name)} ({columns(table, TYPES)}) ON COMMIT DELETE ROWS"
            await connection.execute(temporary.encode())
            await connection.execute(self._upsert(name))

    async def _create(self, connection: "AsyncConnection[Any]") -> None:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            for name, table in TABLES.items():
                await connection.execute(create(self._names[name], table, TYPES).encode())

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _reason(self, error: "Error", *, starts: bool) -> str:
        told = " ".join(str(error).split())
        state = error.sqlstate
        if state is None:
            if starts and _is_login(error):
                raise ConfigError(f"{self._address.shown} refuses us: {told}") from error
            return told
        if state.startswith(_PASSES) or state in (_READ_ONLY, _DROPPED):
            return told
        if state.startswith(_REFUSES):
            raise ConfigError(f"{self._address.shown} refuses us: {told}") from error
        raise CryptostreamError(f"{self._address.shown} takes no entries: {told}") from error


def _arriving(name: str) -> str:
    return f"pg_temp.{quoted(f'cryptostream_{name}')}"


def _is_login(error: "Error") -> bool:
    """Whether a connection was refused over a password: a login that fails carries no SQLSTATE."""
    return error.pgconn is not None and (error.pgconn.needs_password or error.pgconn.used_password)
