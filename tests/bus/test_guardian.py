import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cryptostream.bus import guardian


def test_a_log_is_put_aside_at_a_mebibyte_and_only_one_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "redis.log"
    for letter in "abc":
        log.write_text(letter * (1 << 20))
        guardian.keep_short(log)
        assert log.exists()
        log.write_text(letter * ((1 << 20) + 1))
        guardian.keep_short(log)
        assert not log.exists()
    assert (tmp_path / "redis.log.1").read_text()[0] == "c"
    assert [path.name for path in tmp_path.iterdir()] == ["redis.log.1"]


def test_a_lock_is_one_owners_until_it_is_closed(tmp_path: Path) -> None:
    mine = guardian.lock(tmp_path / "start", fcntl.LOCK_EX)
    assert mine is not None
    assert guardian.lock(tmp_path / "start", fcntl.LOCK_EX) is None
    os.close(mine)
    again = guardian.lock(tmp_path / "start", fcntl.LOCK_EX)
    assert again is not None
    os.close(again)


def test_many_users_share_a_lock(tmp_path: Path) -> None:
    held = [guardian.lock(tmp_path / "users", fcntl.LOCK_SH) for _ in range(2)]
    assert guardian.lock(tmp_path / "users", fcntl.LOCK_EX) is None
    for descriptor in held:
        assert descriptor is not None
        os.close(descriptor)


def test_it_needs_the_standard_library_alone_to_start() -> None:
    script = "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; import runpy"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{script}; runpy.run_path({guardian.__file__!r})"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


class Ticks:
    """A server that lives for some ticks, while something happens at each."""

    url = "unix:///nowhere"

    def __init__(self, *happens: Callable[[], object]) -> None:
        self._happens = list(happens)

    def died(self, within_s: float) -> bool:
        if not self._happens:
            return True
        self._happens.pop(0)()
        return False

    def stop(self) -> None:
        raise AssertionError("it is watched, not owned")


@pytest.fixture
def users(tmp_path: Path) -> Iterator[int]:
    """The guardian's own hold on the file that users lock."""
    descriptor = guardian.open_private(tmp_path / "users")
    yield descriptor
    os.close(descriptor)


def plan(tmp_path: Path) -> guardian.Plan:
    return guardian.Plan(str(tmp_path), "", "", "", grace_s=2.0)


def nothing() -> None:
    """A quiet tick."""


def test_it_ends_when_nobody_was_there_for_the_grace_and_lets_nobody_in_meanwhile(tmp_path: Path, users: int) -> None:
    assert guardian.watch(Ticks(*[nothing] * 9), users, plan(tmp_path)) == (2.0, True)
    assert guardian.lock(tmp_path / "users", fcntl.LOCK_SH) is None


def test_somebody_who_comes_within_the_grace_keeps_it(tmp_path: Path, users: int) -> None:
    held: list[int | None] = []
    come = lambda: held.append(guardian.lock(tmp_path / "users", fcntl.LOCK_SH))  # noqa: E731
    leave = lambda: os.close(held[0] or 0)  # noqa: E731
    ticks = Ticks(nothing, nothing, nothing, come, nothing, nothing, nothing, leave, *[nothing] * 9)
    assert guardian.watch(ticks, users, plan(tmp_path)) == (5.5, True)


def test_a_server_that_ends_is_told_with_how_long_it_lived(tmp_path: Path, users: int) -> None:
    assert guardian.watch(Ticks(nothing, nothing), users, plan(tmp_path)) == (1.0, False)
