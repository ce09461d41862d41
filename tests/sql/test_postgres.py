"""PostgreSQL: a server that goes and comes, refuses, or takes only what we may do."""

import asyncio
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest
from structlog.testing import capture_logs

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import ConfigError, CryptostreamError, Unreachable
from cryptostream.sql import postgres as module
from cryptostream.sql.postgres import Postgres
from cryptostream.testing import ManualClock
from tests.conftest import free_port
from tests.proxy import Proxy
from tests.sql.conftest import PASSWORD, PostgresServer
from tests.sql.market import trade

END_US = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cryptostream'"
ENTRIES = [trade(number) for number in range(300)]


@pytest.fixture
def url(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database; its address is in DB."""
    monkeypatch.setenv("DB", postgres_url)
    return postgres_url


def ask(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def trades(url: str) -> list[tuple[object, ...]]:
    """How many rows there are, and of how many entries."""
    return ask(url, "SELECT count(*), count(DISTINCT entry_id) FROM trades")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await SystemClock().sleep(0.001)


@pytest.mark.row(13)
async def test_a_server_that_is_killed_while_it_is_written_to_loses_and_doubles_nothing(
    url: str, postgres: PostgresServer, clock: ManualClock
) -> None:
    async def write() -> None:
        for start in range(0, 300, 10):
            await sink.write(ENTRIES[start : start + 10])

    async with Postgres(url_env="DB", clock=clock) as sink:
        for _ in range(3):
            writing = asyncio.create_task(write())
            await asyncio.wait([writing], timeout=0.02)
            postgres.kill()
            await asyncio.wait([writing], timeout=0.02)
            await asyncio.to_thread(postgres.start)
            await writing
    assert trades(url) == [(300, 300)]
    assert sink.trouble == ""


@pytest.mark.row(15)
async def test_a_connection_may_be_cut_at_any_byte_of_the_answers(
    url: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    async with Proxy("127.0.0.1", postgres.port) as proxy:
        monkeypatch.setenv("DB", url.replace(f":{postgres.port}", f":{proxy.port}"))
        async with Postgres(url_env="DB", clock=clock) as sink:
            for cut, entry in enumerate(ENTRIES[:80]):
                proxy.cut_after(2 * cut)
                await sink.write([entry])
                proxy.heal()
    assert proxy.accepted > 40
    assert trades(url) == [(80, 80)]


async def test_a_server_that_is_not_there_at_the_start_is_waited_for_half_a_minute(
    monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    monkeypatch.setenv("DB", f"postgresql://me:{PASSWORD}@127.0.0.1:{free_port()}/market")
    with capture_logs() as logs, pytest.raises(Unreachable, match=r"takes nothing: .*refused") as refused:
        await Postgres(url_env="DB", clock=clock).__aenter__()
    assert 30 <= clock.monotonic() <= 35
    assert PASSWORD not in f"{refused.value}{logs}"


async def test_a_server_that_comes_up_later_is_found(url: str, postgres: PostgresServer) -> None:
    postgres.stop()
    sink = Postgres(url_env="DB")
    opening = asyncio.create_task(sink.__aenter__())
    await until(lambda: sink.trouble != "")
    await asyncio.to_thread(postgres.start)
    await opening
    await sink.write([trade(1)])
    await sink.__aexit__(None, None, None)
    assert trades(url) == [(1, 1)]


async def test_a_connection_that_an_operator_ends_is_made_again(url: str, clock: ManualClock) -> None:
    async with Postgres(url_env="DB", clock=clock) as sink:
        await sink.write([trade(1)])
        ended = ask(
            url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cryptostream'"
        )
        await sink.write([trade(2)])
    assert ended == [(True,)]
    assert trades(url) == [(2, 2)]


async def test_a_server_that_only_reads_is_waited_for(url: str, clock: ManualClock) -> None:
    database = url.rpartition("/")[2]
    async with Postgres(url_env="DB", clock=clock) as sink:
        ask(url, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        ask(url, END_US)
        waiting = asyncio.create_task(sink.write([trade(1)]))
        await until(lambda: "read-only" in sink.trouble)
        assert not waiting.done()
        ask(url, f"SET transaction_read_only = off; ALTER DATABASE {database} RESET default_transaction_read_only")
        await waiting
    assert trades(url) == [(1, 1)]


async def test_a_table_that_is_dropped_meanwhile_is_made_again(url: str, clock: ManualClock) -> None:
    async with Postgres(url_env="DB", clock=clock) as sink:
        await sink.write([trade(1)])
        ask(url, "DROP TABLE trades")
        await sink.write([trade(2)])
    assert trades(url) == [(1, 1)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "c4n4ry"}, "password authentication failed"),
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
        ({"user": "nobody"}, "password authentication failed"),
    ],
)
async def test_a_login_that_fails_is_told_at_once_and_never_shown(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], said: str
) -> None:
    monkeypatch.setenv("DB", postgres.url(**wrong))
    with capture_logs() as logs, pytest.raises(ConfigError, match=said) as refused:
        await Postgres(url_env="DB").__aenter__()
    shown = f"{refused.value}{refused.value.__cause__!r}{logs}"
    assert PASSWORD not in shown
    assert "c4n4ry" not in shown


async def test_tables_may_stand_in_a_schema(url: str) -> None:
    ask(url, "CREATE SCHEMA market")
    async with Postgres(url_env="DB", table="market.spot_{channel}") as sink:
        await sink.write([trade(1)])
    assert ask(url, "SELECT count(*) FROM market.spot_trades") == [(1,)]


@pytest.mark.usefixtures("url")
async def test_a_schema_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match='schema "market" does not exist'):
        await Postgres(url_env="DB", table="market.{channel}").__aenter__()


async def test_least_rights_are_enough_where_the_tables_are_there(
    url: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Postgres(url_env="DB"):
        pass
    database = url.rpartition("/")[2]
    ask(url, "DROP ROLE IF EXISTS writer; CREATE ROLE writer LOGIN PASSWORD 'w'")
    monkeypatch.setenv("DB", postgres.url(database, "writer", "w"))
    try:
        with pytest.raises(ConfigError, match="permission denied for table"):
            await Postgres(url_env="DB").__aenter__()
        ask(url, "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO writer")
        async with Postgres(url_env="DB") as sink:
            await sink.write([trade(1)])
        assert trades(url) == [(1, 1)]
    finally:
        ask(url, "DROP OWNED BY writer; DROP ROLE writer")


async def test_a_table_with_another_key_is_refused_at_the_start(url: str) -> None:
    async with Postgres(url_env="DB"):
        pass
    ask(url, "ALTER TABLE klines DROP CONSTRAINT klines_pkey")
    with pytest.raises(ConfigError, match="ON CONFLICT"):
        await Postgres(url_env="DB").__aenter__()


async def test_a_rule_of_somebody_else_that_forbids_a_row_is_told(url: str) -> None:
    async with Postgres(url_env="DB") as sink:
        ask(url, "ALTER TABLE trades ADD CHECK (price < 45002)")
        with pytest.raises(CryptostreamError, match="violates check constraint"):
            await sink.write([trade(1), trade(2)])
    assert trades(url) == [(0, 0)]


async def test_a_commit_is_durable_even_where_the_database_is_set_to_hurry(url: str) -> None:
    ask(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    async with Postgres(url_env="DB") as sink:
        ask(url, "ALTER TABLE trades ADD COLUMN commits TEXT DEFAULT current_setting('synchronous_commit')")
        await sink.write([trade(1)])
    assert ask(url, "SELECT commits FROM trades") == [("on",)]


async def test_two_starts_at_once_make_the_tables_once(url: str) -> None:
    async def start() -> None:
        async with Postgres(url_env="DB") as sink:
            await sink.write([trade(1)])

    await asyncio.gather(*(start() for _ in range(6)))
    assert trades(url) == [(1, 1)]


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as refused:
        Postgres(url="postgresql:///market")
    assert refused.value.hint == "pip install 'cryptostream[postgres]'"


def test_its_package_is_not_imported_before_it_is_used() -> None:
    told = "import sys, cryptostream.sql.postgres; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0
