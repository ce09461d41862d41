"""The two engines every stream test runs on, servers that may be killed, and a clock that obeys."""

import asyncio
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from cryptostream.bus.volatile import VolatileServer
from cryptostream.testing import ManualClock

# pytest-asyncio asks for the main thread's loop; unless told that there is none, Python 3.11 makes one nobody closes.
asyncio.set_event_loop(None)


class RedisServer:
    """A real server of a test's own, on a free loopback port (`url`) and a unix socket (`unix_url`) at once.

    Killed, it can be started again on the same addresses and folder; the fixture ends it. `pid` is its process.
    """

    def __init__(self, binary: str, folder: Path, *options: str, password: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.socket_path = folder / "redis.sock"
        auth = f":{password}@" if password else ""
        self.url = f"redis://{auth}127.0.0.1:{self.port}"
        self.unix_url = f"unix://{auth}{self.socket_path}"
        self._command = [
            *(binary, "--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", str(self.socket_path)),
            *("--dir", str(folder), "--save", "", "--loglevel", "warning"),
            *(("--requirepass", password) if password else ()),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait`, return once it serves."""
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while wait and not self._serves():
            assert self._pause(0.01), f"redis-server ended with {self._process.returncode}: {self._command}"

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL)."""
        self._end("kill")

    def stop(self) -> None:
        """End it in order (SIGTERM)."""
        self._end("terminate")

    def restart(self) -> None:
        """Crash and start again."""
        self.kill()
        self.start()

    def call(self, *words: str) -> bytes:
        """The raw reply to one command without spaces in its arguments, over a connection of its own."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.socket_path))
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(65536)

    def _serves(self) -> bool:
        try:
            return not self.call("PING").startswith(b"-LOADING")
        except OSError:
            return False

    def _pause(self, delay_s: float) -> bool:
        """Whether it still lives after a moment."""
        assert self._process is not None
        try:
            self._process.wait(delay_s)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _end(self, how: str) -> None:
        if self._process is not None:
            getattr(self._process, how)()
            self._process.wait(10)


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def redis_binary() -> str:
    """The server on PATH; without one the test is skipped."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return found or pytest.skip("no redis-server or valkey-server on PATH")


@pytest.fixture
def redis_server(redis_binary: str) -> Iterator[Callable[..., RedisServer]]:
    """Make and start servers of the test's own: `redis_server("--maxmemory", "5mb", password="x")`."""
    started: list[RedisServer] = []
    # A unix socket's path has to be short, and pytest's tmp_path is not.
    with tempfile.TemporaryDirectory(prefix="cs-") as root:

        def make(*options: str, password: str = "", start: bool = True) -> RedisServer:
            folder = Path(root) / str(len(started))
            folder.mkdir()
            started.append(RedisServer(redis_binary, folder, *options, password=password))
            if start:
                started[-1].start()
            return started[-1]

        yield make
        for server in started:
            server.kill()


@pytest.fixture(scope="session")
def _shared_redis(redis_binary: str) -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        server = RedisServer(redis_binary, Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture(scope="session")
def _shared_fake() -> Iterator[VolatileServer]:
    with VolatileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def real_redis_url(_shared_redis: RedisServer) -> str:
    """An empty real server, shared by the tests of a session."""
    _shared_redis.call("FLUSHALL")
    return _shared_redis.unix_url


@pytest.fixture
def fake_redis_url(_shared_fake: VolatileServer) -> str:
    """An empty fakeredis over TCP, shared by the tests of a session."""
    address = _shared_fake.server_address
    with socket.create_connection((str(address[0]), int(address[1])), timeout=5) as connection:
        connection.sendall(b"*1\r\n$8\r\nFLUSHALL\r\n")
        connection.recv(64)
    return f"redis://{address[0]!s}:{address[1]}"


one_engine = pytest.mark.parametrize(
    "bus_url",
    ["redis" if shutil.which("redis-server") or shutil.which("valkey-server") else "fakeredis"],
    indirect=True,
)
"""For tests with a `bus_url` that are not about Redis: the quicker engine of those that are there."""


@pytest.fixture(params=["fakeredis", "redis"])
def bus_url(request: pytest.FixtureRequest) -> str:
    """One suite, two engines: an empty fakeredis, then an empty real server."""
    return str(request.getfixturevalue({"fakeredis": "fake_redis_url", "redis": "real_redis_url"}[request.param]))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder of the test's own."""
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """What a test or a command in it makes of the log ends with the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> ManualClock:
    """A clock on which nobody waits."""
    return ManualClock()
