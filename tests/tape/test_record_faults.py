"""Faults of the disk and of the process: no closed file is torn, no entry is missing or doubled."""

import asyncio
import errno
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cryptostream.tape import parts
from cryptostream.tape.record import Parquet
from cryptostream.testing import ManualClock
from tests.tape import killed
from tests.tape.recording import entries_in, trades

KILLS = 30


class Disk:
    """A folder on a disk of little room, which may be taken and given back."""

    def __init__(self, folder: Path, take: Callable[[], None], give_back: Callable[[], None]) -> None:
        self.folder = folder
        self.take = take
        self.give_back = give_back


@pytest.fixture(params=["tmpfs", "refusing"])
def disk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A tmpfs of 1 MiB, where we may mount one; and a file system that says what a full one says."""
    if request.param == "refusing":
        yield _refusing(tmp_path, monkeypatch)
        return
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a tmpfs")
    try:
        yield Disk(folder, lambda: _fill(folder / "ballast"), lambda: (folder / "ballast").unlink())
    finally:
        subprocess.run(["umount", folder], check=True)


def _fill(path: Path) -> None:
    """Take all but a little room: a file of ours still begins, and does not end."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(path, path.stat().st_size - 3 * 4096)


def _refusing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    full: list[bool] = []
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        if not full:
            return real(descriptor, data)
        if len(full) % 2:
            full.append(True)
            return real(descriptor, data[: len(data) // 2])
        full.append(True)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)
    return Disk(folder, lambda: full.append(True), full.clear)


@pytest.mark.row(22)
async def test_a_full_disk_tears_nothing_and_loses_nothing(disk: Disk, clock: ManualClock) -> None:
    given = trades(6000)
    async with Parquet(str(disk.folder), compact="0s", clock=clock) as sink:
        await sink.write(given[:2000])
        await sink.flush()
        disk.take()
        await sink.write(given[2000:4000])
        await sink.flush()

        assert "No space left on device" in sink.trouble
        assert sink.held() == {"trades:BTCUSDT": given[2000].entry_id}
        assert entries_in(disk.folder) == {"trades:BTCUSDT": given[:2000]}
        await sink.write(given[4000:])

        disk.give_back()
        while sink.closing:
            await asyncio.to_thread(lambda: None)
        assert sink.trouble == ""
    assert entries_in(disk.folder) == {"trades:BTCUSDT": given}
    assert not list(disk.folder.rglob("*.inprogress"))


@pytest.mark.row(24)
def test_killed_at_any_byte_every_closed_file_reads_and_every_entry_is_there_once(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    (tmp_path / "acked").touch()
    command = [sys.executable, "-m", "tests.tape.killed", str(tmp_path), str(KILLS), str(seed)]

    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)

    assert told.returncode == 0, told.stderr
    print(told.stdout)
    assert "'exit 0'" in told.stdout
    assert "'killed'" in told.stdout
    found = entries_in(tmp_path / "data")
    assert [entry for both in zip(*found.values(), strict=True) for entry in both] == killed.truth()


@pytest.mark.row(25)
async def test_nothing_is_called_safe_before_its_name_is_on_the_disk(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    names: dict[int, str] = {}
    real = {name: getattr(os, name) for name in ("open", "write", "fsync", "rename")}

    def opened(path: Any, *arguments: Any, **named: Any) -> int:
        descriptor = int(real["open"](path, *arguments, **named))
        names[descriptor] = "folder" if Path(path).is_dir() else "file"
        return descriptor

    def noting(name: str, subject: Callable[..., str]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            assert sink.held(), f"called safe before {name}"
            done = real[name](*arguments)
            calls.append(f"{name} {subject(*arguments)}")
            return done

        return call

    async with Parquet(str(tmp_path), compact="0s", clock=clock) as sink:
        await sink.write(trades(10))
        parts.make_folder(tmp_path / "channel=trades" / "pair=BTCUSDT" / "date=2024-11-14")
        monkeypatch.setattr(os, "open", opened)
        monkeypatch.setattr(os, "write", noting("write", lambda descriptor, _: names[descriptor]))
        monkeypatch.setattr(os, "fsync", noting("fsync", lambda descriptor: names[descriptor]))
        monkeypatch.setattr(os, "rename", noting("rename", lambda *_: "file"))
        await sink.flush()
        monkeypatch.undo()

    assert sink.held() == {}
    assert calls == ["write file", "fsync file", "rename file", "fsync folder"]
