"""The process that owns the server behind `embedded://`: starts it, restarts it once, stops it when nobody is left.

`embedded.py` runs it as a script with a Plan as JSON; it goes into the background and says `ready`, or what went wrong,
on stdout. It needs the standard library alone, so that a first command waits some 0.1 s for it.

Three files in its folder are locked with flock, which the kernel undoes however a process ends: `users`, shared by each
command on the bus; `guardian`, by the guardian; `server`, by the guardian and by its server, which inherits the lock,
so that one that outlived its guardian is noticed and ended before another touches its files.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

_STEP_S = 0.01
_POLL_S = 0.1
_READY_STEPS = 3000
_STOP_S = 30.0
_HEALTHY_S = 60.0
_LOG_BYTES = 1 << 20


class Plan(NamedTuple):
    """What to own and where: `server` is a binary or empty, `url` is what redis-py calls the socket."""

    folder: str
    socket_path: str
    url: str
    server: str
    grace_s: float

    @property
    def tick_s(self) -> float:
        """How often to look who is there."""
        return min(0.5, max(0.05, self.grace_s / 4))

    def file(self, name: str) -> Path:
        return Path(self.folder, name)


class Failed(Exception):
    """Why there is no server, in words for the person who asked for one."""


class Server(Protocol):
    """A server that this process answers for."""

    url: str

    def died(self, within_s: float) -> bool:
        """Whether it ended; if not, `within_s` have passed."""

    def stop(self) -> None: ...


class RealServer:
    """A redis-server or valkey-server as a child: everything in an append-only file, nothing evicted, no TCP port."""

    def __init__(self, plan: Plan) -> None:
        self.url = plan.url
        self._log = plan.file("redis.log")
        self._lock = _server_lock(plan)
        Path(plan.socket_path).unlink(missing_ok=True)
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(  # noqa: S603 - our own words, no shell
            _command(plan), stdin=quiet, stdout=quiet, stderr=quiet, pass_fds=[self._lock]
        )
        self._await(plan)

    def died(self, within_s: float) -> bool:
        """Whether it ended; if not, `within_s` have passed."""
        keep_short(self._log)
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        os.close(self._lock)
        return True

    def stop(self) -> None:
        """End it in order: at SIGTERM it writes what it holds."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        self._process.kill()

    def _await(self, plan: Plan) -> None:
        for _ in range(_READY_STEPS):
            if _ask(plan.socket_path, b"PING\r\n"):
                return
            if self.died(_STEP_S):
                raise Failed(f"{plan.server} does not start: {_last_words(self._log)}")
        self.stop()
        raise Failed(f"{plan.server} does not answer")


class Volatile:
    """fakeredis on a free loopback port, for a machine without a server: it keeps nothing.

    It does not enforce `requirepass`, but it does ACLs: nobody gets in without the random password.
    """

    def __init__(self) -> None:
        from secrets import token_urlsafe

        from fakeredis import FakeStrictRedis

        sys.path.append(str(Path(__file__).parents[2]))  # a script does not know the package it lies in
        from cryptostream.bus.volatile import VolatileServer

        password = token_urlsafe(24)
        self._server: Any = VolatileServer()
        inside = FakeStrictRedis(server=self._server.fake_server)
        inside.acl_setuser(
            "owner", enabled=True, passwords=[f"+{password}"], keys=["*"], channels=["*"], commands=["+@all"]
        )
        inside.acl_setuser("default", enabled=True, reset_keys=True, commands=["-@all", "+auth"])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), daemon=True)
        self._thread.start()
        self.url = f"redis://owner:{password}@127.0.0.1:{self._server.server_address[1]}"

    def died(self, within_s: float) -> bool:
        """Whether it ended; if not, `within_s` have passed."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End it, and all it holds with it."""
        self._server.shutdown()


def main(words: str) -> NoReturn:
    """Guard the server of a plan until nobody is left; the process that was started returns at once."""
    plan = Plan(**json.loads(words))
    if os.fork():
        os._exit(0)
    os.umask(0o077)
    os.chdir(plan.folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _guard(plan)
    except (Failed, OSError, ImportError) as error:
        _say(str(error))
    finally:
        os._exit(0)  # a normal exit would wait for fakeredis' threads


def _guard(plan: Plan) -> None:
    """Run the server until nobody is left. One that ends is started again, unless it just was."""
    mine = lock(plan.file("guardian"), fcntl.LOCK_EX)
    if mine is None:
        raise Failed("another guardian is at work")
    users = open_private(plan.file("users"))
    spare = True
    while True:
        with _running(plan) as server:
            _say("ready")
            lived_s, left = watch(server, users, plan)
        if left or not (spare or lived_s >= _HEALTHY_S):
            return
        spare = False


@contextlib.contextmanager
def _running(plan: Plan) -> Iterator[Server]:
    server: Server = RealServer(plan) if plan.server else Volatile()
    try:
        _publish(plan.file("url"), server.url)
        yield server
    finally:
        plan.file("url").unlink(missing_ok=True)
        server.stop()


def watch(server: Server, users: int, plan: Plan) -> tuple[float, bool]:
    """Seconds until the server ended or nobody had used it for the grace, and which: True for the latter.

    In that case `users` stays locked, so that whoever comes now waits until the server has stopped.
    """
    lived_s = idle_s = 0.0
    while not server.died(plan.tick_s):
        lived_s += plan.tick_s
        if not _take(users, fcntl.LOCK_EX):
            idle_s = 0.0
        elif (idle_s := idle_s + plan.tick_s) >= plan.grace_s:
            return lived_s, True
        else:
            fcntl.flock(users, fcntl.LOCK_UN)
    return lived_s, False


def open_private(path: Path) -> int:
    """A file descriptor of a file that is made where it is missing, for its owner alone."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def lock(path: Path, how: int) -> int | None:
    """The descriptor that holds a lock on a file until it is closed; None where somebody else's is in the way."""
    descriptor = open_private(path)
    if _take(descriptor, how):
        return descriptor
    os.close(descriptor)
    return None


def keep_short(log: Path) -> None:
    """Put a log aside once it is a MiB long, over the one before; the server opens it anew for each line."""
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _take(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _server_lock(plan: Plan) -> int:
    """The right to touch the data. A server that outlived its guardian is asked to stop first."""
    pause = threading.Event()
    for _ in range(_READY_STEPS):
        if (mine := lock(plan.file("server"), fcntl.LOCK_EX)) is not None:
            return mine
        _ask(plan.socket_path, b"SHUTDOWN\r\n")
        pause.wait(_STEP_S)
    raise Failed(f"a server of an earlier session does not end; it holds {plan.file('server')}")


def _command(plan: Plan) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": plan.socket_path,
        "unixsocketperm": "600",
        "dir": plan.folder,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "logfile": str(plan.file("redis.log")),
        "loglevel": "notice",
        "daemonize": "no",
    }
    return [plan.server, *(word for name, value in options.items() for word in (f"--{name}", value))]


def _publish(path: Path, url: str) -> None:
    """Write where the server is, whole or not at all; the URL can hold a password."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = open_private(draft)
    os.write(descriptor, url.encode())
    os.close(descriptor)
    draft.replace(path)


def _say(words: str) -> None:
    """Tell whoever started us, who reads until we let go of stdout."""
    print(words, flush=True)  # noqa: T201 - this is how a process answers
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os.close(quiet)


def _ask(socket_path: str, words: bytes) -> bytes:
    """The server's answer to an inline command, empty where there is none."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_STOP_S)
        try:
            connection.connect(socket_path)
            connection.sendall(words)
            return connection.recv(64)
        except OSError:
            return b""


def _last_words(log: Path) -> str:
    """The last complaint in a server's log, without its time stamp."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    said = [words for line in lines if (words := line.partition(" # ")[2].strip())]
    return said[-1] if said else "it left no log"


if __name__ == "__main__":
    main(sys.argv[1])
