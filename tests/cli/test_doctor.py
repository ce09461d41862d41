"""`cryptostream doctor` as a person runs it: findings on stdout, exit 3 when something is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cryptostream.cli import doctor, main  # noqa: F401 - registers the commands
from cryptostream.cli.command import app
from cryptostream.sim.exchange import LocalExchange
from tests.conftest import RedisServer, free_port

CANARY = "hunter2canary"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    """No configuration but the test's own."""
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_URL", "REDIS_HOST", "BINANCE_REST_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CRYPTOSTREAM_DATA_DIR", str(data_dir))


def run(*words: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    done = CliRunner().invoke(app, ["doctor", *words])
    found = {finding["what"]: finding for finding in json.loads(done.stdout)}
    return done.exit_code, found, done.stderr


def test_a_sound_place_passes(redis_server) -> None:  # type: ignore[no-untyped-def]
    server: RedisServer = redis_server("--appendonly", "yes")
    code, found, _ = run("--offline", "--redis", server.url)
    assert code == 0
    assert "fail" not in {finding["level"] for finding in found.values()}
    assert {"python", "config", "bus", "bus version", "bus persistence", "data folder", "disk"} <= found.keys()


def test_a_bus_that_evicts_fails_and_names_the_fix(redis_server) -> None:  # type: ignore[no-untyped-def]
    server: RedisServer = redis_server("--maxmemory-policy", "allkeys-lru")
    code, found, told = run("--offline", "--redis", server.url)
    assert code == 3
    assert found["bus eviction"]["level"] == "fail"
    assert "CONFIG SET maxmemory-policy noeviction" in found["bus eviction"]["fix"]
    assert "1 of" in told
    assert "bus eviction" in told


def test_warnings_fail_when_it_is_strict(redis_server) -> None:  # type: ignore[no-untyped-def]
    server: RedisServer = redis_server()
    assert run("--offline", "--redis", server.url)[0] == 0
    code, found, _ = run("--offline", "--strict", "--redis", server.url)
    assert (code, found["bus persistence"]["level"]) == (3, "warn")


def test_a_bus_that_is_not_there_is_one_finding_and_the_rest_is_looked_at() -> None:
    url = f"redis://user:{CANARY}@127.0.0.1:{free_port()}"
    code, found, told = run("--offline", "--set", "bus.connect_timeout=1s", "--redis", url)
    assert code == 3
    assert "nothing listens there" in found["bus"]["detail"]
    assert found["python"]["level"] == "ok"
    assert CANARY not in f"{found} {told}"


def test_every_mistake_in_the_configuration_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("buss: {}\nfeeds: 7\n")
    code, found, _ = run("--offline", "-c", str(tmp_path / "bad.yaml"))
    assert code == 3
    assert found["config"]["level"] == "fail"


async def test_an_exchange_is_asked_for_its_time(redis_server) -> None:  # type: ignore[no-untyped-def]
    import asyncio

    server: RedisServer = redis_server()
    async with LocalExchange(seed=1, pairs=["BTCUSDT"], rate=1.0) as exchange:
        options = ("--redis", server.url, "--set", f"venues.binance.rest_url={exchange.rest_url}")
        code, found, _ = await asyncio.to_thread(run, *options)
    assert code == 0
    assert found["binance"]["detail"].startswith("answers in")
    assert found["binance clock"]["level"] == "ok"


def test_an_exchange_that_is_not_there_fails_unless_offline(redis_server) -> None:  # type: ignore[no-untyped-def]
    server: RedisServer = redis_server()
    nowhere = ("--set", f"venues.binance.rest_url=http://127.0.0.1:{free_port()}", "--redis", server.url)
    code, found, _ = run(*nowhere)
    assert (code, found["binance"]["level"]) == (3, "fail")
    code, found, _ = run("--offline", *nowhere)
    assert (code, "binance" in found) == (0, False)


def test_a_table_has_a_sign_for_each_finding(redis_server) -> None:  # type: ignore[no-untyped-def]
    server: RedisServer = redis_server("--maxmemory-policy", "allkeys-lru")
    done = CliRunner().invoke(app, ["doctor", "--offline", "-o", "table", "--redis", server.url])
    signs = {line.split()[0] for line in done.stdout.splitlines() if line[:1] in "✓!✗"}
    assert signs == {"✓", "!", "✗"}
