"""`cryptostream health` as a probe runs it, against the endpoint that ingest serves."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cryptostream.cli import health, main
from cryptostream.config import Config
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.stats import FeedStats, PublisherStats
from cryptostream.errors import UsageError
from cryptostream.web import app
from cryptostream.web.health import Watched
from cryptostream.web.server import Endpoint, listening
from tests.conftest import free_port


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    """No configuration but the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEALTH_PORT", raising=False)
    monkeypatch.setenv("CRYPTOSTREAM_DATA_DIR", str(data_dir))


async def run(*words: str) -> Result:
    """The command in a thread of its own, as another process would ask."""
    return await asyncio.to_thread(CliRunner().invoke, main.app, ["health", *words])


@contextlib.asynccontextmanager
async def ingest(*why: str, host: str = "127.0.0.1", token: str | None = None) -> AsyncIterator[str]:
    """The endpoint of an ingest that is unwell for these reasons; gives its port."""
    watched = Watched(feed=FeedStats, published=PublisherStats, pairs=list, stats=dict, reasons=lambda: why)
    endpoint = Endpoint(app.make(watched, host=host, token=token), listening(host, 0))
    serving = asyncio.ensure_future(endpoint())
    await SystemClock().sleep(0)  # it says where it listens, before the command's output is caught
    try:
        yield endpoint.url.rpartition(":")[2]
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


@contextlib.asynccontextmanager
async def stranger(answer: bytes | None) -> AsyncIterator[str]:
    """Another program at a port, which gives that answer, or none at all; gives the port."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer is not None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        else:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        yield str(server.sockets[0].getsockname()[1])


async def test_healthy_is_exit_0() -> None:
    async with ingest() as port:
        result = await run("--port", port)
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"status": "ok"})


async def test_degraded_is_exit_3_and_the_reasons_are_told() -> None:
    async with ingest("no connection to the exchange is live", "the bus takes nothing: away") as port:
        result = await run("--port", port)
    assert result.exit_code == 3
    assert json.loads(result.stdout) == {
        "status": "degraded",
        "reasons": ["no connection to the exchange is live", "the bus takes nothing: away"],
    }


@pytest.mark.parametrize(
    ("kind", "well", "unwell"),
    [
        ("table", "healthy\n", "degraded: one\ndegraded: two\n"),
        ("jsonl", '{"status": "ok"}\n', '{"status": "degraded", "reasons": ["one", "two"]}\n'),
        ("csv", "status,reasons\nok,\n", "status,reasons\ndegraded,one; two\n"),
    ],
)
async def test_output_is_as_asked(kind: str, well: str, unwell: str) -> None:
    async with ingest() as port:
        assert (await run("--port", port, "-o", kind)).stdout.replace("\r", "") == well
    async with ingest("one", "two") as port:
        assert (await run("--port", port, "-o", kind)).stdout.replace("\r", "") == unwell


async def test_nobody_there_is_exit_5() -> None:
    result = await run("--port", str(free_port()))
    assert result.exit_code == 5
    assert (result.stdout, "nobody answers at http://127.0.0.1:" in result.stderr) == ("", True)


async def test_who_does_not_answer_in_time_is_exit_5() -> None:
    async with stranger(None) as port:
        result = await run("--port", port, "--timeout", "100ms")
    assert (result.exit_code, "within 0.1 s" in result.stderr) == (5, True)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"status":"degraded"}',
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n<html",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200015\r\n\r\n" + b" " * 200_000 + b'{"status":"ok"}',
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["no status", "status and code differ", "404", "redirect", "huge", "not http"],
)
async def test_another_program_at_the_port_is_exit_5(answer: bytes) -> None:
    async with stranger(answer) as port:
        result = await run("--port", port)
    assert (result.exit_code, result.stdout) == (5, "")
    assert f"http://127.0.0.1:{port}" in result.stderr


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    async with ingest() as port:
        assert (await run("--port", port)).exit_code == 0


@pytest.mark.parametrize("path", ["", "/", "/health"])
async def test_an_address_may_be_given_whole(path: str) -> None:
    async with ingest() as port:
        assert (await run("--url", f"http://127.0.0.1:{port}{path}")).exit_code == 0


async def test_port_comes_from_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ingest(host="::1", token="a-token-that-nobody-guesses") as port:
        monkeypatch.setenv("HEALTH_PORT", port)
        assert (await run("--set", "ingest.health_host=::1")).exit_code == 0


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8099/health"),
        ("0.0.0.0", "http://127.0.0.1:8099/health"),
        ("::", "http://[::1]:8099/health"),
        ("ingest.lan", "http://ingest.lan:8099/health"),
    ],
)
def test_where_all_addresses_are_served_this_machines_own_is_asked(host: str, url: str) -> None:
    told = {"health_host": host, "health_token": "a-token-that-nobody-guesses"}
    assert health.address(Config.model_validate({"ingest": told})) == url


def test_a_port_that_is_free_each_time_has_to_be_named() -> None:
    with pytest.raises(UsageError, match="health_port is 0"):
        health.address(Config.model_validate({"ingest": {"health_port": 0}}))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--url", "http://localhost:1", "--port", "2"], "both say where"),
        (["--url", "localhost:8099"], "not an address"),
        (["--url", "ftp://localhost"], "not an address"),
        (["--url", "http://user:hunter2@"], "not an address"),
        (["--url", "http://[::1"], "not an address"),
        (["--timeout", "soon"], "not a duration"),
    ],
)
async def test_wrong_use_is_exit_2(words: list[str], message: str) -> None:
    result = await run(*words)
    assert (result.exit_code, message in result.stderr) == (2, True)
    assert "hunter2" not in result.stderr


async def test_reasons_cannot_steer_a_terminal() -> None:
    async with ingest("a\x1b[2Jb [bold]") as port:
        assert (await run("--port", port, "-o", "table")).stdout == "degraded: a[2Jb [bold]\n"


def test_help_imports_no_http_server() -> None:
    heavy = ("fastapi", "uvicorn", "prometheus_client", "httpx2")
    program = f"import sys, cryptostream.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
