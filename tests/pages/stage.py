"""A market, a bus and `cryptostream run` that serves the dashboard, each a process of its own; and a browser."""

import json
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from cryptostream.engine.clock import SystemClock

PAIRS = ("BNBUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
FOLLOWED = PAIRS[:3]
STRATEGY = {"macd_rsi": {"fast": 4, "slow": 9, "signal": 3, "rsi_period": 5}}
_READY_S = 30.0
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Stage:
    """Where everything is; `run` is the process under test."""

    url: str
    redis_url: str
    data_dir: Path
    run: "subprocess.Popen[bytes]"

    def get(self, path: str) -> object:
        """What the API answers."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:
            return json.load(answer)


@contextmanager
def staged(
    folder: Path,
    redis_url: str,
    *,
    pairs: Sequence[str] = PAIRS,
    followed: Sequence[str] = FOLLOWED,
    rate: float = 40.0,
) -> Iterator[Stage]:
    """Everything runs, and the API says that it is well. `followed` are those of the pairs that are ingested."""
    with ExitStack() as opened:
        market = opened.enter_context(_process("simulate", "--port", "0", "--pairs", ",".join(pairs), f"--rate={rate}"))
        assert market.stdout is not None
        told = json.loads(market.stdout.readline())
        port = _free_port()
        config = folder / "cryptostream.yaml"
        config.write_text(yaml.safe_dump(_config(folder, redis_url, told["env"], port, followed)))
        run = opened.enter_context(_process("run", "-c", str(config)))
        stage = Stage(f"http://127.0.0.1:{port}", redis_url, folder / "data", run)
        _wait_until_well(stage)
        yield stage


@dataclass
class Seen:
    """A page, and what it did that nobody should see."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    """Errors of its console, and requests to other hosts."""

    def __post_init__(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", None):
            self.complaints.append(f"asked {request.url}")


@contextmanager
def browser() -> Iterator[Browser]:
    """The Chromium on PATH, without a window."""
    binary = next(filter(None, map(shutil.which, _BROWSERS)))
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield made
        made.close()


def has_browser() -> bool:
    """Whether there is one on PATH."""
    return any(map(shutil.which, _BROWSERS))


def _config(folder: Path, redis_url: str, env: dict[str, str], port: int, followed: Sequence[str]) -> dict[str, object]:
    return {
        "bus": {"url": redis_url, "maxlen": 20_000},
        "data_dir": str(folder / "data"),
        "venues": {"binance": {"ws_url": env["BINANCE_WS_URL"], "rest_url": env["BINANCE_REST_URL"]}},
        "feeds": [{"binance": {"symbols": list(followed), "channels": ["trades", "klines:1m"]}}],
        "consumers": {"demo": {"read": "trades", "bars": "500ms", "strategies": [STRATEGY], "write": "bus"}},
        "ingest": {"health_port": 0},
        "serve": {"port": port},
    }


@contextmanager
def _process(*words: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "cryptostream", *words]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _wait_until_well(stage: Stage) -> None:
    clock = SystemClock()
    deadline_s = clock.monotonic() + _READY_S
    while not (state := _state(stage)):
        assert clock.monotonic() < deadline_s, f"not well within {_READY_S:g} s"
    assert state == "well", state


def _state(stage: Stage) -> str:
    """`well` once it is, after a moment nothing while it is not yet, and what ended it."""
    try:
        stage.get("/health")
    except OSError:  # an answer of 503, too
        with suppress(subprocess.TimeoutExpired):
            return f"it ended with {stage.run.wait(0.05)}"
        return ""
    return "well"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
