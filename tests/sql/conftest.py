"""A real PostgreSQL of the tests' own, from whatever package the machine has, with a database for each test."""

import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cryptostream.sql.postgres import Postgres
from cryptostream.sql.sqlite import Sqlite
from tests.conftest import free_port

PASSWORD = "s3cr3t-c4n4ry"


class PostgresServer:
    """A server in a folder of its own on a free loopback port. Killed, it can be started again; the fixture ends it."""

    def __init__(self, binaries: Path, folder: Path, user: str | None) -> None:
        self.port = free_port()
        self._data = folder / "data"
        self._log = folder / "log"
        self._binaries = binaries
        # It refuses to run as root.
        self._as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        self._process: subprocess.Popen[bytes] | None = None
        self._password_file = folder / "password"
        self._password_file.write_text(PASSWORD)
        self._numbers = count(1)

    def initialise(self) -> None:
        """Make an empty cluster."""
        self._run(
            *("initdb", "--no-sync", "--auth=scram-sha-256", "--username=owner", "--encoding=UTF8", "--no-locale"),
            *(f"--pwfile={self._password_file}", f"--pgdata={self._data}"),
        )

    def url(self, database: str = "postgres", user: str = "owner", password: str = PASSWORD) -> str:
        """Its address."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """The address of a new empty database."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait`, return once it serves."""
        # A killed process loses nothing that a machine that goes on has; fsync would only take time.
        options = ["-c", "fsync=off", "-c", f"unix_socket_directories={self._data}", "-c", "max_connections=20"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", "-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port), *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while wait and not self._serves():
            assert self._lives(0.02), self._log.read_text()

    def kill(self) -> None:
        """End it at once, as a crash would: the postmaster and, because it is gone, whoever serves a client."""
        if self._process is not None:
            children = _children(self._process.pid)
            for pid in [self._process.pid, *children]:
                os.kill(pid, signal.SIGKILL)
            self._process.wait(10)

    def stop(self) -> None:
        """End it in order, without waiting for clients (SIGINT)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(10)

    def _serves(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _lives(self, delay_s: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(delay_s)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [*self._as_user, str(self._binaries / program), *arguments]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(self._command(program, *arguments), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _binaries() -> Path | None:
    """The newest server on this machine; Debian keeps them off PATH."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    found = shutil.which("postgres") or (packaged[-1] if packaged else None)
    return Path(found).resolve().parent if found else None


def _unprivileged() -> str | None:
    """Whom to run it as; None for ourselves."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = next((name for name in ("postgres", "nobody") if name in names), None)
    if user is None or shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is nobody else to run it as")
    return user


@pytest.fixture(scope="session")
def _postgres() -> Iterator[PostgresServer]:
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server on this machine (Debian: postgresql)")
    user = _unprivileged()
    with tempfile.TemporaryDirectory(prefix="cs-") as root:
        folder = Path(root)
        if user:
            shutil.chown(folder, user)
        server = PostgresServer(binaries, folder, user)
        server.initialise()
        server.start()
        yield server
        server.stop()


@pytest.fixture
def postgres(_postgres: PostgresServer) -> PostgresServer:
    """The server, shared by the tests of a session; who kills it starts it again."""
    return _postgres


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """The address, password and all, of an empty database."""
    return postgres.database()


class Database:
    """One of the two kinds: a sink that writes to it and a way to ask what it holds."""

    def __init__(self, kind: str, target: str) -> None:
        self.kind = kind
        self.target = target

    def sink(self, **params: Any) -> Sqlite | Postgres:
        """A sink as YAML makes it; the address of PostgreSQL is in the variable DATABASE_URL."""
        if self.kind == "sqlite":
            return Sqlite(self.target, **params)
        return Postgres(url_env="DATABASE_URL", **params)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query that both kinds understand."""
        if self.kind == "sqlite":
            with closing(sqlite3.connect(self.target)) as database:
                return database.execute(query).fetchall()
        with psycopg.connect(self.target, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """One suite, two databases: an empty one of each kind."""
    if request.param == "sqlite":
        return Database("sqlite", str(tmp_path / "market.db"))
    url = str(request.getfixturevalue("postgres_url"))
    monkeypatch.setenv("DATABASE_URL", url)
    return Database("postgres", url)
