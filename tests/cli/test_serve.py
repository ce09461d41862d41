"""`cryptostream serve`: who may ask it, how it starts and ends; and how `run` serves beside its work."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from typer.testing import CliRunner

from cryptostream.cli import main
from cryptostream.cli.serve import tell
from cryptostream.config import Config, load
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusUnavailable
from cryptostream.testing import ManualClock
from cryptostream.wiring import serving
from cryptostream.wiring.serving import address
from cryptostream.wiring.serving.board import Board
from cryptostream.wiring.serving.site import site

TOKEN = "canary-of-serve-that-writes"


def configured(bus_url: str, data_dir: Path, **settings: Any) -> Config:
    flags = {"bus.url": bus_url, "data_dir": data_dir, "serve.port": 0, "serve.dashboard": False}
    return load([], sets=[], flags={**flags, **settings}, env={}).config


def test_a_process_answers_whom_it_should_keeps_its_secrets_and_drains(real_redis_url: str, tmp_path: Path) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    words = ["serve", "--port", "0", "--no-dashboard", "--redis", real_redis_url, "--data-dir", str(tmp_path), "-vv"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cryptostream", *words],
        env={**kept, "PYTHONWARNINGS": "error", "CRYPTOSTREAM_SERVE__TOKEN": TOKEN},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        url = process.stderr.readline().removeprefix("API ").strip()
        asked = httpx2.Client(base_url=url, timeout=10, trust_env=False)
        with asked as client:
            found = [
                "redis_connected" in client.get("/health").json(),
                client.get("/stats").status_code,
                client.get(f"/stats?token={TOKEN}").status_code,
                client.get("/stats", headers={"authorization": f"Bearer {TOKEN}"}).status_code,
                client.get(f"/{TOKEN}", headers={"authorization": f"Bearer {TOKEN}"}).status_code,
                client.post("/subscribe", content=TOKEN).status_code,
            ]
            process.send_signal(signal.SIGTERM)
            told = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert found == [True, 401, 401, 200, 404, 401]
    assert (process.returncode, told[0], "canary" in told[1]) == (0, "", False), told
    assert "web.listening" in told[1]
    assert (tmp_path / "web-secret").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "0.0.0.0"], "could be used by anybody"),
        (["--set", f"serve.token={TOKEN}"], "a secret on the command line"),
        (["--port", "TAKEN"], "is taken, so that the API cannot be served there"),
    ],
)
def test_what_cannot_be_served_is_exit_78(tmp_path: Path, words: list[str], told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        asked = ["serve", "--data-dir", str(tmp_path), *(port if word == "TAKEN" else word for word in words)]
        result = CliRunner().invoke(main.app, asked)
    assert (result.exit_code, told in result.stderr, "canary" in result.output) == (78, True, False), result.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--no-serve", "--port", "0"], "--no-serve leaves out what --port is for"),
        (["--demo", "--data-dir", "HERE"], "takes no --data-dir"),
        (["--demo", "--redis", "redis://h"], "takes no --redis"),
        (["--demo", "--set", "bus.maxlen=7"], "takes no --set bus.maxlen"),
        (["--demo", "--set", "bus={}"], "takes no --set bus"),
        (["--demo", "-c", "FILE"], "takes no feeds of a file"),
    ],
)
def test_what_run_would_not_heed_is_a_usage_error(tmp_path: Path, words: list[str], told: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("feeds: [{binance: {symbols: [BTCUSDT], channels: [trades]}}]\n")
    places = {"HERE": str(tmp_path), "FILE": str(file)}
    result = CliRunner().invoke(main.app, ["run", *(places.get(word, word) for word in words)])
    assert (result.exit_code, told in result.stderr) == (2, True), result.output


def test_where_the_extra_is_missing_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(address, "find_spec", lambda name: None)
    tell(configured("embedded://", tmp_path, **{"serve.dashboard": True}), "http://127.0.0.1:1")
    assert capsys.readouterr().err.splitlines() == [
        "no dashboard: pip install 'cryptostream[dashboard]' adds it",
        "API http://127.0.0.1:1/",
    ]


# --- beside feeds and consumers


@contextlib.asynccontextmanager
async def beside(config: Config) -> AsyncIterator[str]:
    """What `run` serves, for as long as it runs; gives its address."""
    door = serving.door(config, asked=True)
    assert door is not None
    made = serving.Beside(door)
    running = asyncio.ensure_future(made())
    try:
        yield made.url
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_it_answers_from_a_thread_of_its_own_and_gives_its_port_back(bus_url: str, tmp_path: Path) -> None:
    def health(url: str) -> int:
        """Asked without a loop, while ours stands still."""
        return httpx2.get(f"{url}/health", timeout=10, trust_env=False).status_code

    async with beside(configured(bus_url, tmp_path)) as url:
        assert await asyncio.to_thread(health, url) in (200, 503)
        assert health(url) in (200, 503)
        assert "serve" in [thread.name for thread in threading.enumerate()]
    assert "serve" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(httpx2.ConnectError):
        health(url)


@pytest.mark.parametrize("why", [BusUnavailable("no answer"), TypeError("our fault")], ids=["the bus", "we"])
async def test_what_ends_it_is_told_ends_nothing_else_and_it_opens_again(
    why: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.asynccontextmanager
    async def away(*_: Any, **__: Any) -> AsyncIterator[None]:
        raise why
        yield

    monkeypatch.setattr(address, "site", away)
    door = serving.door(configured("embedded://", tmp_path), asked=True)
    assert door is not None
    made = serving.Beside(door, ManualClock())
    with structlog.testing.capture_logs() as told:
        running = asyncio.ensure_future(made())
        async with asyncio.timeout(20):
            while len(told) < 2:
                await SystemClock().sleep(0.005)
            monkeypatch.setattr(address, "site", site)
            while not await asyncio.to_thread(answers, made.url):
                pass
        running.cancel()
        await asyncio.wait([running])
    assert {(line["event"], line["why"]) for line in told[:2]} == {("web.ended", f"{type(why).__name__}: {why}")}


def answers(url: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(f"{url}/health", timeout=10, trust_env=False).status_code in (200, 503)
    return False


async def test_a_look_that_fails_is_taken_again_while_the_door_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    async def look(_: Board) -> None:
        nonlocal looks
        looks += 1
        raise TypeError("our fault")

    monkeypatch.setattr(Board, "__call__", look)
    with structlog.testing.capture_logs() as told:
        async with beside(configured("embedded://", tmp_path)) as url:
            async with asyncio.timeout(20):
                while looks < 2:
                    await SystemClock().sleep(0.01)
            assert await asyncio.to_thread(answers, url)
    assert {line["event"] for line in told if line["log_level"] == "error"} == {"web.look_failed"}


def test_a_port_that_is_taken_and_nobody_asked_for_is_a_warning(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, structlog.testing.capture_logs() as told:
        config = configured("embedded://", tmp_path, **{"serve.port": taken.getsockname()[1]})
        assert serving.door(config, asked=False) is None
    assert [(line["event"], "--port 0" in line["fix"]) for line in told] == [("web.not_served", True)]
