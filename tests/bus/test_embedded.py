"""`embedded://` with real processes: shared while used, gone soon after, its data there the next time."""

import asyncio
import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from cryptostream.bus import embedded as door
from cryptostream.bus import guardian
from cryptostream.bus.connect import Bus, connect
from cryptostream.bus.embedded import embedded, private_folder, until_lost
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusUnavailable, ConfigError
from cryptostream.testing import ManualClock

CLOCK = SystemClock()
USER = """
import asyncio, sys
from pathlib import Path
from cryptostream.bus.embedded import embedded
from cryptostream.engine.clock import SystemClock

async def main():
    async with embedded(Path(sys.argv[1]), SystemClock(), grace_s=0.0):
        print("here", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


@asynccontextmanager
async def bus_in(data_dir: Path) -> AsyncIterator[Bus]:
    async with connect("embedded://", data_dir=data_dir, clock=CLOCK) as bus:
        yield bus


@pytest.fixture(autouse=True)
def gone(data_dir: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """No grace, so that no test waits for a server to stop; and nothing is left behind."""
    monkeypatch.setattr(door, "GRACE_S", 0.0)
    yield
    asyncio.run(stopped(data_dir))


async def stopped(data_dir: Path) -> None:
    """Return once no guardian and no server holds a lock of this folder."""
    for name in ("guardian", "server"):
        path = data_dir / "redis" / name
        await until(lambda path=path: not path.exists() or not is_locked(path))  # type: ignore[misc]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await CLOCK.sleep(0.02)


def is_locked(path: Path) -> bool:
    free = guardian.lock(path, fcntl.LOCK_EX)
    if free is not None:
        os.close(free)
    return free is None


def user(data_dir: Path) -> subprocess.Popen[str]:
    """Another process that uses the bus until its stdin closes; it says `here` when it is there."""
    words = [sys.executable, "-c", USER, str(data_dir)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def server_pid(bus: Bus) -> int:
    return int((await bus.command.info("server"))["process_id"])


async def next_server_pid(bus: Bus, last: int) -> int:
    """The process of the server that follows one that was killed, once it has loaded its data."""
    async with asyncio.timeout(20):
        while True:
            with suppress(RedisError):
                await bus.command.ping()
                if (pid := await server_pid(bus)) != last:
                    return pid
            await CLOCK.sleep(0.02)


def guardian_pid(server: int) -> int:
    return int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any server on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))


async def test_what_it_holds_is_there_the_next_time(redis_binary: str, data_dir: Path) -> None:
    async with bus_in(data_dir) as bus:
        await bus.command.xadd("trades:BTCUSDT", {"price": "1"}, id="1-1")
        first = await server_pid(bus)
    await stopped(data_dir)
    async with bus_in(data_dir) as bus:
        assert await bus.command.xlen("trades:BTCUSDT") == 1
        assert await server_pid(bus) != first


async def test_everybody_who_names_one_folder_meets_on_one_server(redis_binary: str, data_dir: Path) -> None:
    async with bus_in(data_dir) as ours, bus_in(data_dir) as theirs:
        await ours.command.xadd("s", {"a": "1"})
        assert await theirs.command.xlen("s") == 1


async def test_it_counts_its_users_and_stops_after_the_last(redis_binary: str, data_dir: Path) -> None:
    async with bus_in(data_dir):
        async with bus_in(data_dir):
            pass
        assert is_locked(data_dir / "redis" / "users")
    await stopped(data_dir)
    assert not (data_dir / "redis" / "url").exists()
    assert not (data_dir / "redis" / "redis.sock").exists()


async def test_other_folders_have_servers_of_their_own(redis_binary: str, data_dir: Path, tmp_path: Path) -> None:
    async with bus_in(data_dir) as ours, bus_in(tmp_path / "other") as theirs:
        assert await server_pid(ours) != await server_pid(theirs)
    await stopped(tmp_path / "other")


async def test_first_commands_that_race_start_one_server(redis_binary: str, data_dir: Path) -> None:
    racers = [user(data_dir) for _ in range(4)]
    try:
        assert [racer.stdout.readline() for racer in racers if racer.stdout] == ["here\n"] * 4
        async with bus_in(data_dir) as bus:
            pid = await server_pid(bus)
            assert children(guardian_pid(pid)) == [pid]
            starts = (data_dir / "redis" / "redis.log").read_text().count("is starting")
            assert starts == 1
    finally:
        for racer in racers:
            racer.communicate()


async def test_a_user_that_is_killed_no_longer_counts(redis_binary: str, data_dir: Path) -> None:
    with user(data_dir) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "here\n"
        killed.kill()
    await stopped(data_dir)


async def test_a_server_that_dies_is_started_again_with_its_data(redis_binary: str, data_dir: Path) -> None:
    async with bus_in(data_dir) as bus:
        await bus.command.xadd("s", {"a": "1"}, id="1-1")
        first = await server_pid(bus)
        os.kill(first, signal.SIGKILL)
        assert await next_server_pid(bus, first) != first
        assert await bus.command.xrange("s") == [("1-1", {"a": "1"})]


async def test_a_server_that_dies_again_at_once_is_given_up_with_a_word(redis_binary: str, data_dir: Path) -> None:
    async with bus_in(data_dir) as bus:
        first = await server_pid(bus)
        os.kill(first, signal.SIGKILL)
        os.kill(await next_server_pid(bus, first), signal.SIGKILL)
        await stopped(data_dir)
        with pytest.raises(BusUnavailable, match="the embedded server has stopped") as caught:
            await bus.raw_connection()
        assert "redis.log" in caught.value.hint


@pytest.mark.row(39)
async def test_whoever_watches_learns_that_it_is_gone_for_good(redis_binary: str, data_dir: Path) -> None:
    async with bus_in(data_dir) as bus:
        watch = asyncio.ensure_future(until_lost(data_dir, ManualClock()))
        first = await server_pid(bus)
        os.kill(first, signal.SIGKILL)
        second = await next_server_pid(bus, first)
        assert not watch.done()  # an hour of the watch's time may have passed
        os.kill(second, signal.SIGKILL)
        with pytest.raises(BusUnavailable, match="ended twice within a minute"):
            await asyncio.wait_for(watch, 10)


async def test_a_new_command_starts_over_after_a_guardian_was_killed(redis_binary: str, data_dir: Path) -> None:
    async with bus_in(data_dir) as bus:
        await bus.command.xadd("s", {"a": "1"})
        orphan = await server_pid(bus)
        os.kill(guardian_pid(orphan), signal.SIGKILL)
        await until(lambda: guardian_pid(orphan) == 1 or not is_locked(data_dir / "redis" / "guardian"))
        async with bus_in(data_dir) as newcomer:
            assert await newcomer.command.xlen("s") == 1
            assert await server_pid(newcomer) != orphan
            assert not runs(orphan)  # two servers must never write one file
        assert await bus.command.xlen("s") == 1


async def test_the_terminals_ctrl_c_does_not_reach_it(redis_binary: str, data_dir: Path) -> None:
    async with bus_in(data_dir) as bus:
        pid = await server_pid(bus)
        assert os.getsid(pid) == os.getsid(guardian_pid(pid)) != os.getsid(0)


async def test_nobody_else_can_enter_its_folder_or_open_its_files(redis_binary: str, data_dir: Path) -> None:
    async with bus_in(data_dir):
        home = data_dir / "redis"
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in home.iterdir()}
    assert {"redis.sock", "url", "users", "server", "guardian", "start", "redis.log"} <= modes.keys()
    assert set(modes.values()) == {0}


async def test_it_evicts_nothing_opens_no_port_and_syncs_each_second(redis_binary: str, data_dir: Path) -> None:
    async with bus_in(data_dir) as bus:
        found = {
            name: (await bus.command.config_get(name))[name]
            for name in ("port", "maxmemory-policy", "appendonly", "appendfsync")
        }
    assert found == {"port": "0", "maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}


async def test_a_long_path_keeps_its_data_and_finds_another_place_for_its_socket(
    redis_binary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    async with bus_in(deep) as bus:
        await bus.command.xadd("s", {"a": "1"})
        place = Path((await bus.command.config_get("unixsocket"))["unixsocket"]).parent
        assert place.parent == Path("/tmp")
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert (deep / "redis" / "appendonlydir").is_dir()
    await stopped(deep)
    place.rmdir()


async def test_a_path_with_any_letters_works(redis_binary: str, tmp_path: Path) -> None:
    strange = tmp_path / "a b'ü?#%"
    async with bus_in(strange) as bus:
        assert await bus.command.ping()
    await stopped(strange)


async def test_data_it_cannot_read_is_told_in_the_servers_words(redis_binary: str, data_dir: Path) -> None:
    (data_dir / "redis" / "appendonlydir").mkdir(parents=True)
    (data_dir / "redis" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(BusUnavailable, match=r"does not start: .*AOF"):
        async with bus_in(data_dir):
            pytest.fail("it cannot read its data")


async def test_without_a_server_it_keeps_nothing_and_says_so(
    no_server: None, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bus_in(data_dir) as bus:
        await bus.command.xadd("s", {"a": "1"})
        async with bus_in(data_dir) as other:
            assert await other.command.xlen("s") == 1
    told = "".join(capsys.readouterr())
    assert "bus.embedded.volatile" in told
    assert "redis-server" in told
    await stopped(data_dir)
    async with bus_in(data_dir) as bus:
        assert await bus.command.xlen("s") == 0


async def test_without_a_server_nobody_gets_in_without_the_password(no_server: None, data_dir: Path) -> None:
    async with embedded(data_dir, CLOCK, grace_s=0) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
            stranger.sendall(b"*2\r\n$6\r\nSTRLEN\r\n$1\r\na\r\n")
            assert b"no permissions" in stranger.recv(100)
        assert stat.S_IMODE((data_dir / "redis" / "url").stat().st_mode) == 0o600
        async with bus_in(data_dir) as bus:
            assert url.partition("@")[0].rpartition(":")[2] not in f"{bus!r}{bus.url}"


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    with pytest.raises(ConfigError, match="not a folder of this user's"):
        private_folder(tmp_path)


def test_a_link_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="not a folder of this user's"):
        private_folder(tmp_path / "here")


def test_a_folder_that_is_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    assert stat.S_IMODE(private_folder(tmp_path / "open").stat().st_mode) == 0o700


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot use .*file"):
        private_folder(tmp_path / "file" / "redis")
