"""Processes that a benchmark starts, talks to by lines, and ends by their pids; and the Redis of its own."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any, Self

import redis

ROOT = Path(__file__).parent.parent
_ANSWER_S = 120.0


class Unavailable(Exception):
    """Something this benchmark needs is not on this machine."""


class Child:
    """A Python process that answers each line with one of JSON. Raises RuntimeError when it dies or is silent."""

    def __init__(
        self, *command: str, python: Path | str = sys.executable, env: Mapping[str, str] | None = None
    ) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **(env or {})}
        self._process = subprocess.Popen(
            [str(python), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._name = " ".join(command[:2])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def tell(self, word: str) -> None:
        """Send one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def hear(self, timeout_s: float = _ANSWER_S) -> dict[str, Any]:
        """Wait for one line."""
        assert self._process.stdout is not None
        watchdog = threading.Timer(timeout_s, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        if not line:
            raise RuntimeError(f"{self._name} died or was silent for {timeout_s:g} s")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def ask(self, word: str, timeout_s: float = _ANSWER_S) -> dict[str, Any]:
        """Send one line and wait for its answer."""
        self.tell(word)
        return self.hear(timeout_s)


class Redis:
    """A redis-server of one's own on a free port of loopback, that keeps nothing."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.client = redis.Redis(port=port, decode_responses=True)

    def clear(self) -> None:
        """Forget all entries and all counts."""
        self.client.flushall()
        self.client.config_resetstat()

    def added(self) -> int:
        """XADD calls since `clear`."""
        stats: Any = self.client.info("commandstats")
        return int(stats.get("cmdstat_xadd", {}).get("calls", 0))

    def wait_for(self, entries: int, timeout_s: float = _ANSWER_S) -> None:
        """Return once so many entries are there, ledgers not counted. Raises RuntimeError when they are not."""
        deadline = time.monotonic() + timeout_s
        while self.added() < entries or self.held() < entries:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.added()} of {entries} entries after {timeout_s:g} s")
            time.sleep(0.02)

    def held(self) -> int:
        """Entries in all streams but the ledgers."""
        keys = [key for key in self.client.scan_iter(count=1000, _type="stream") if not key.startswith("events:")]
        with self.client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.xlen(key)
            return sum(pipe.execute())


@contextmanager
def redis_server() -> Iterator[Redis]:
    """Start a redis-server, end it by its pid. Raises Unavailable where there is none on PATH."""
    program = which("redis-server")
    if program is None:
        raise Unavailable("no redis-server on PATH")
    port = free_port()
    arguments = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--loglevel",
        "warning",
    ]
    process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
    try:
        server = Redis(port)
        _await_answer(server)
        yield server
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key. Raises Unavailable where there is no openssl."""
    if which("openssl") is None:
        raise Unavailable("no openssl on PATH to make a self-signed certificate")
    crt, key = folder / "server.crt", folder / "server.key"
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    run(["openssl", *made, *names, "-out", str(crt), "-keyout", str(key)])
    return crt, key


def run(command: Sequence[str], timeout_s: float = 60.0) -> str:
    """Run a program to its end and return what it printed. Raises RuntimeError with its last words."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=True)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{command[0]}: {(error.stderr or error.stdout)[-400:]}") from error
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{command[0]} took more than {timeout_s:g} s") from error
    return done.stdout


def _await_answer(server: Redis) -> None:
    deadline = time.monotonic() + 5
    while not _answers(server):
        if time.monotonic() > deadline:
            raise RuntimeError("redis-server did not answer in 5 s")
        time.sleep(0.02)


def _answers(server: Redis) -> bool:
    try:
        return bool(server.client.ping())
    except redis.ConnectionError:
        return False
