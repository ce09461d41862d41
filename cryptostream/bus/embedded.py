"""`embedded://`: a server of one's own for each data folder, there while somebody uses it, its data there next time.

The first command starts a guardian process (`guardian.py`), the others find it, and it stops the server a few seconds
after the last one has left. Who uses it is told by a shared lock that the kernel drops however a process ends.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from cryptostream import logs
from cryptostream.bus import guardian
from cryptostream.bus.guardian import Plan
from cryptostream.errors import BusUnavailable, ConfigError
from cryptostream.model.ports import Clock

SERVERS = ("redis-server", "valkey-server")
GRACE_S = 2.0
_SOCKET_PATH_BYTES = 100
"""Linux takes 107 bytes, macOS 103."""
_PATIENCE_S = 60.0
_POLL_S = 0.02
_WATCH_S = 1.0
_LOST_S = 3.0
"""How long nobody may answer for a server: another command may just be starting it."""
_LOG_HINT = "redis.log in the data folder says more"

T = TypeVar("T")

_log = logs.get("bus")


@asynccontextmanager
async def embedded(data_dir: Path, clock: Clock, *, grace_s: float | None = None) -> AsyncIterator[str]:
    """The redis-py URL of the server that keeps its data in `data_dir`, running for as long as this is open.

    The first redis-server or valkey-server on PATH, on a unix socket that only this user can open; without one,
    fakeredis, which keeps nothing, and a log line that says so.

    Raises ConfigError for a folder that cannot be used, BusUnavailable with the server's own words when it does not
    start. Give it a real clock: it waits for other processes.
    """
    plan = _plan(data_dir, GRACE_S if grace_s is None else grace_s)
    users = await _patiently(_join, plan, clock)
    try:
        url = await _patiently(_find_or_start, plan, clock)
        if url.startswith("redis://"):
            _log.warning("bus.embedded.volatile", why="nothing is kept", install=" or ".join(SERVERS))
        yield url
    finally:
        os.close(users)


async def until_lost(data_dir: Path, clock: Clock) -> None:
    """Watch the server of a data folder. Raises BusUnavailable once nobody answers for it any more.

    Its guardian starts it again once; what ends twice within a minute would end a third time.
    """
    plan, lost_s = _plan(data_dir, GRACE_S), 0.0
    while lost_s < _LOST_S:
        await clock.sleep(_WATCH_S)
        lost_s = lost_s + _WATCH_S if _is_lost(plan) else 0.0
    raise BusUnavailable(f"the embedded server in {plan.folder} ended twice within a minute", hint=_LOG_HINT)


def _is_lost(plan: Plan) -> bool:
    """Whether neither a guardian nor a server that outlived it is there, and nobody is about to start one."""
    if (alone := guardian.lock(plan.file("start"), fcntl.LOCK_EX)) is None:
        return False
    try:
        return not (_is_held(plan.file("guardian")) or _is_held(plan.file("server")))
    finally:
        os.close(alone)


async def _patiently(attempt: Callable[[Plan], Awaitable[T | None]], plan: Plan, clock: Clock) -> T:
    """The first answer of an attempt that may have to wait for another process to start or to stop."""
    deadline = clock.monotonic() + _PATIENCE_S
    while (answer := await attempt(plan)) is None:
        if clock.monotonic() >= deadline:
            raise BusUnavailable(f"the embedded server in {plan.folder} neither starts nor stops", hint=_LOG_HINT)
        await clock.sleep(_POLL_S)
    return answer


async def _join(plan: Plan) -> int | None:
    """Be counted as a user. A guardian that is stopping keeps us waiting until its server has written everything."""
    return guardian.lock(plan.file("users"), fcntl.LOCK_SH)


async def _find_or_start(plan: Plan) -> str | None:
    """The URL of the running server. Whoever holds `start` is the only one to look and to launch."""
    if (alone := guardian.lock(plan.file("start"), fcntl.LOCK_EX)) is None:
        return None
    try:
        if not _is_held(plan.file("guardian")):
            await asyncio.to_thread(_launch, plan)
        return plan.file("url").read_text()
    except FileNotFoundError:
        return None
    finally:
        os.close(alone)


def _is_held(lock: Path) -> bool:
    if (free := guardian.lock(lock, fcntl.LOCK_EX)) is None:
        return True
    os.close(free)
    return False


def _launch(plan: Plan) -> None:
    """Start a guardian, out of reach of this terminal's Ctrl-C, and return once its server serves."""
    try:
        started = subprocess.run(  # noqa: S603 - our own script, no shell
            [sys.executable, "-P", guardian.__file__, json.dumps(plan._asdict())],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BusUnavailable(f"no embedded server after {_PATIENCE_S:g} s", hint=_LOG_HINT) from error
    said = (started.stdout or started.stderr).strip()
    if said != "ready":
        raise BusUnavailable(f"no embedded server: {said}", hint=_LOG_HINT)


def _plan(data_dir: Path, grace_s: float) -> Plan:
    home = private_folder(data_dir.absolute() / "redis")
    path = _socket_path(home)
    server = next((found for name in SERVERS if (found := shutil.which(name))), "")
    return Plan(str(home), str(path), f"unix://{quote(str(path))}", server, grace_s)


def _socket_path(home: Path) -> Path:
    """A place for the socket: in the data folder, or where its name would be too long, in the user's runtime folder."""
    name = f"cryptostream-{os.getuid()}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"
    if _fits(home / "redis.sock"):
        return home / "redis.sock"
    for root in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"):  # noqa: S108 - see private_folder
        if root and Path(root).is_dir() and _fits(Path(root, name, "redis.sock")):
            return private_folder(Path(root, name)) / "redis.sock"
    raise ConfigError(f"no place for a unix socket: {home} is too long", hint="choose a shorter --data-dir")


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= _SOCKET_PATH_BYTES


def private_folder(path: Path) -> Path:
    """A folder that only this user can enter, made where it is missing.

    Raises ConfigError for one that is another user's or a link: somebody may have been here before us on purpose.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigError(f"{path} is not a folder of this user's", hint="choose another --data-dir")
        if stat.S_IMODE(found.st_mode) != 0o700:
            path.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"cannot use {path}: {error.strerror}", hint="choose another --data-dir") from error
    return path
