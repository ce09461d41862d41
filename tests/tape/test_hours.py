"""One connection's files: whole, by the hour, never overwritten, whatever the disk says."""

import errno
import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptostream.errors import CryptostreamError
from cryptostream.tape import hours
from cryptostream.tape.frames import read
from cryptostream.tape.hours import HourFiles
from cryptostream.tape.names import HOUR_NS

HOUR = 498_721
START = HOUR * HOUR_NS
NAME = "binance-0-20261123T01.raw.gz"


def frames(count: int, start: int = START) -> list[hours.Received]:
    return [(start + number, b'{"n":%d}' % number, False) for number in range(count)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def record(folder: Path, *batches: list[hours.Received]) -> None:
    files = HourFiles(folder, "binance-0")
    files.prepare()
    for batch in batches:
        files.append(batch)
    files.close()


def test_what_is_written_is_gzip_text_that_reads_back(tmp_path: Path) -> None:
    record(tmp_path, frames(2), frames(1, START + 5))

    assert gzip.decompress((tmp_path / NAME).read_bytes()) == (
        b'%d {"n":0}\n%d {"n":1}\n%d {"n":0}\n' % (START, START + 1, START + 5)
    )
    assert [line.at for line in read(tmp_path / NAME)] == [START, START + 1, START + 5]


def test_each_hour_of_receive_time_has_its_file(tmp_path: Path) -> None:
    record(tmp_path, frames(1), frames(2, START + HOUR_NS - 1), frames(1, START + 5 * HOUR_NS))

    assert names(tmp_path) == [NAME, "binance-0-20261123T02.raw.gz", "binance-0-20261123T06.raw.gz"]
    assert [len(list(read(path))) for path in sorted(tmp_path.iterdir())] == [2, 1, 1]


def test_a_clock_that_steps_back_stays_in_the_open_file(tmp_path: Path) -> None:
    record(tmp_path, frames(1), frames(1, START - HOUR_NS), frames(1, START + 9))

    assert names(tmp_path) == [NAME]
    assert [line.at for line in read(tmp_path / NAME)] == [START, START - HOUR_NS, START + 9]


def test_a_restart_in_the_hour_begins_another_file(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        record(tmp_path, frames(count))

    assert names(tmp_path) == ["binance-0-20261123T01-1.raw.gz", "binance-0-20261123T01-2.raw.gz", NAME]
    assert len(list(read(tmp_path / NAME))) == 1


def test_a_file_left_in_progress_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.inprogress").write_bytes(gzip.compress(b"1 {}\n"))
    record(tmp_path, frames(1))

    assert names(tmp_path) == ["binance-0-20261123T01-1.raw.gz", f"{NAME}.inprogress"]


def test_two_recorders_of_one_name_never_share_a_file(tmp_path: Path) -> None:
    first, second = HourFiles(tmp_path, "binance-0"), HourFiles(tmp_path, "binance-0")
    first.append(frames(1))
    second.append(frames(2))
    second.close()
    first.close()

    assert {name: len(list(read(tmp_path / name))) for name in names(tmp_path)} == {
        NAME: 1,
        "binance-0-20261123T01-1.raw.gz": 2,
    }


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    record(tmp_path / "made" / "on the way", [])

    assert names(tmp_path / "made" / "on the way") == []


def test_an_open_file_reads_to_the_last_flush(tmp_path: Path) -> None:
    files = HourFiles(tmp_path, "binance-0")
    files.append(frames(3))
    files.append(frames(2, START + 10))

    assert len(list(read(tmp_path / f"{NAME}.inprogress"))) == 5
    files.close()


def test_a_large_flush_becomes_members_that_a_reader_checks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hours, "_MEMBER_BYTES", 200)
    record(tmp_path, frames(100))
    written = (tmp_path / NAME).read_bytes()

    assert written.count(b"\x1f\x8b\x08") > 10
    assert len(list(read(tmp_path / NAME))) == 100


def test_bytes_reach_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noted(name: str, original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            calls.append(name)
            return original(*arguments)

        return call

    for name in ("write", "fsync"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    monkeypatch.setattr(Path, "rename", noted("rename", Path.rename))
    record(tmp_path, frames(1))

    assert calls == ["write", "fsync", "rename", "fsync"]


def full_after(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with room for so many bytes, that takes what fits of the write that fills it."""
    original, left = os.write, [room]

    def write(descriptor: int, content: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = original(descriptor, content[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", write)


def test_a_full_disk_is_told_and_leaves_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = HourFiles(tmp_path, "binance-0")
    files.append(frames(10, START - HOUR_NS))
    files.append(frames(10))
    full_after(30, monkeypatch)
    with pytest.raises(CryptostreamError, match=r"cannot record to .*No space left") as told:
        files.append(frames(50, START + 10))

    assert "whole" in told.value.hint
    assert [len(list(read(tmp_path / name))) for name in names(tmp_path)] == [10, 10]
    assert not any(name.endswith(".inprogress") for name in names(tmp_path))
    with pytest.raises(CryptostreamError, match="No space left"):
        files.append(frames(1))
    with pytest.raises(CryptostreamError, match="No space left"):
        files.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CryptostreamError, match="cannot record to"):
        HourFiles(tmp_path / "file" / "folder", "binance-0").prepare()


KILLED = """
import os, signal, sys
from pathlib import Path
from cryptostream.tape.hours import HourFiles
files = HourFiles(Path(sys.argv[1]), "binance-0")
for number in range(10**9):
    files.append([(%d + number * 700_000_000_000, b'{"n":%%d}' %% number, False)])
    os.write(1, b"%%d\\n" %% number)
    if number == 40:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED % START, str(tmp_path)], capture_output=True, timeout=60)
    found = [line.item for name in names(tmp_path) for line in read(tmp_path / name)]

    assert ended.returncode == -9
    assert found == [b'{"n":%d}' % number for number in range(41)]
    assert [name.endswith(".inprogress") for name in names(tmp_path)] == [False] * (len(names(tmp_path)) - 1) + [True]
