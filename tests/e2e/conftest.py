"""The program as a person runs it: real processes, a local exchange, an embedded bus."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]


def until(told: Callable[[], Any]) -> Any:
    """What a question is answered once it is answered with something."""
    deadline = time.monotonic() + 15  # noqa: TID251 - real processes take real time
    while not (found := told()):
        assert time.monotonic() < deadline, "it never came"  # noqa: TID251
        time.sleep(0.05)  # noqa: TID251 - more often is a flood
    return found


def shown(client: httpx2.Client, path: str) -> list[Any]:
    """What the API has there, once it answers."""
    with suppress(httpx2.ConnectError):
        answer = client.get(path)
        return list(answer.json()) if answer.status_code == 200 else []
    return []


@dataclass
class Exchange:
    """A local exchange in a process of its own."""

    env: dict[str, str]
    control_url: str

    def inject(self, fault: str) -> None:
        """Make something go wrong now."""
        urllib.request.urlopen(f"{self.control_url}?inject={fault}", timeout=5).read()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A short path, for the bus's socket lives in it."""
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        yield Path(folder)


@pytest.fixture
def environment(data_dir: Path) -> dict[str, str]:
    """Nothing of this machine's own settings, no network, a data folder that goes away."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    nowhere = {"BINANCE_WS_URL": "ws://127.0.0.1:9", "BINANCE_REST_URL": "http://127.0.0.1:9"}
    return {**kept, **nowhere, "CRYPTOSTREAM_DATA_DIR": str(data_dir), "PYTHONWARNINGS": "error"}


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Start the program in the background; whatever still runs at the end is ended."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "cryptostream", *arguments],
                env={**environment, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        with suppress(ValueError):
            process.communicate(timeout=10)


@pytest.fixture
def run(start: Start) -> Run:
    """Run the program to its end."""

    def whole(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        process = start(*arguments, env=env)
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    return whole


@pytest.fixture
def held_bus(start: Start) -> None:
    """The embedded bus stays up between commands, also where it is one that keeps nothing."""
    start("tail", "nothing:*", "--wait")


@pytest.fixture
def exchange(start: Start) -> Exchange:
    """A local exchange that trades two pairs, 200 times a second each."""
    process = start("simulate", "--port", "0", "--pairs", "BTCUSDT,ETHUSDT", "--rate", "200")
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    return Exchange(told["env"], told["control_url"])
