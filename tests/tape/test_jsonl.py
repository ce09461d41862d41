"""Entries in a file of lines: each whole and there once, whatever the disk does and whoever is killed."""

import asyncio
import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from cryptostream.errors import CryptostreamError
from cryptostream.model.events import Entry
from cryptostream.tape import append
from cryptostream.tape.jsonl import JsonLines
from cryptostream.testing import ManualClock
from tests.tape.recording import trades

GIVEN = trades(6)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "new" / "out.jsonl"


async def write(out: Path, entries: Sequence[Entry]) -> None:
    async with JsonLines(str(out)) as sink:
        await sink.write(entries)


def ids(out: Path) -> list[str]:
    return [json.loads(line)["id"] for line in out.read_text().splitlines()]


def ids_of(entries: Sequence[Entry]) -> list[str]:
    return [entry.entry_id for entry in entries]


async def test_entries_are_lines_with_their_stream_and_id(out: Path) -> None:
    await write(out, GIVEN[:1])

    given = GIVEN[0]
    assert json.loads(out.read_text()) == {"stream": given.stream, "id": given.entry_id, **given.fields}


@pytest.mark.parametrize("left", [1, 20, 150], ids=["its first byte", "its beginning", "most of it"])
@pytest.mark.parametrize("whole", [0, 3])
async def test_a_line_torn_by_a_kill_is_cut_off_and_written_whole(out: Path, whole: int, left: int) -> None:
    await write(out, GIVEN[: whole + 1])
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:whole]) + lines[whole][:left])
    with capture_logs() as told:
        await write(out, GIVEN[whole:])

    assert ids(out) == ids_of(GIVEN)
    assert [(line["event"], line["cut"]) for line in told] == [("jsonl.torn", left)]


async def test_a_torn_line_may_be_longer_than_what_is_read_at_once(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append, "TAIL", 64)
    await write(out, GIVEN[:3])
    out.write_bytes(out.read_bytes()[:-1][:-1])
    await write(out, GIVEN[2:])

    assert ids(out) == ids_of(GIVEN)


async def test_zeros_that_a_power_cut_left_are_cut_off(out: Path) -> None:
    await write(out, GIVEN[:3])
    with out.open("ab") as file:
        file.write(bytes(500))
    await write(out, GIVEN[3:])

    assert ids(out) == ids_of(GIVEN)


async def test_a_line_that_lacks_nothing_but_its_end_is_kept(out: Path) -> None:
    await write(out, GIVEN[:3])
    out.write_bytes(out.read_bytes()[:-1])
    await write(out, GIVEN[3:])

    assert ids(out) == ids_of(GIVEN)


async def test_a_file_of_something_else_is_not_cut(out: Path) -> None:
    out.parent.mkdir()
    out.write_text("Dear diary,\nI am not done")

    with pytest.raises(CryptostreamError, match="no line of JSON"):
        await write(out, GIVEN)
    assert out.read_text() == "Dear diary,\nI am not done"


async def test_what_is_delivered_again_after_a_start_is_not_written_again(out: Path) -> None:
    await write(out, GIVEN[:4])
    await write(out, GIVEN[1:])

    assert ids(out) == ids_of(GIVEN)


async def test_an_older_entry_that_another_member_left_is_written(out: Path) -> None:
    await write(out, [*GIVEN[:2], *GIVEN[3:]])
    await write(out, GIVEN[1:4])

    assert sorted(ids(out)) == ids_of(GIVEN)


async def test_no_more_than_the_end_of_a_file_is_read_at_a_start(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await write(out, GIVEN)
    read: list[int] = []
    real = os.pread

    def pread(file: int, count: int, place: int) -> bytes:
        read.append(count)
        return real(file, count, place)

    monkeypatch.setattr(append, "TAIL", out.stat().st_size // 2)
    monkeypatch.setattr(os, "pread", pread)
    await write(out, GIVEN[-1:])

    assert ids(out) == ids_of(GIVEN)
    assert sum(read) <= out.stat().st_size


async def test_two_who_write_to_one_file_do_not_mix_their_lines(out: Path) -> None:
    async with JsonLines(str(out)) as one, JsonLines(str(out)) as other:
        for entry in trades(50):
            await asyncio.gather(one.write([entry]), other.write([entry]))

    assert sorted(ids(out)) == sorted(2 * ids_of(trades(50)))


class Disk:
    """What `write` and `fsync` of a disk say that refuses so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: str, code: int, times: int) -> None:
        self.left = times
        self.seen: list[tuple[str, bytes]] = []
        self.sink: JsonLines | None = None
        self._code = code
        self._write = os.write
        self._real = getattr(os, call)
        monkeypatch.setattr(os, call, self)

    def __call__(self, file: int, *data: Any) -> Any:
        if not self.left:
            return self._real(file, *data)
        self.left -= 1
        for some in data:
            self._write(file, some[: len(some) // 2])
        raise OSError(self._code, os.strerror(self._code))


@pytest.mark.row(22)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync"])
async def test_a_disk_that_refuses_is_waited_for_and_nothing_is_torn(
    out: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    troubles: list[str] = []
    found: list[list[str]] = []

    async def slept(_: float) -> None:
        troubles.append(sink.trouble)
        found.append(ids(out))

    monkeypatch.setattr(clock, "sleep", slept)
    async with JsonLines(str(out), clock=clock) as sink:
        await sink.write(GIVEN[:2])
        Disk(monkeypatch, call, code, times=3)
        with capture_logs() as told:
            await sink.write(GIVEN[2:])

        assert sink.trouble == ""
    assert troubles == 3 * [f"cannot write {out}: {os.strerror(code)}"]
    assert found == 3 * [ids_of(GIVEN[:2])]
    assert ids(out) == ids_of(GIVEN)
    assert [line["event"] for line in told] == ["jsonl.stalled", "jsonl.resumed"]


async def test_what_no_patience_mends_is_told(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with JsonLines(str(out)) as sink:
        Disk(monkeypatch, "write", errno.EBADF, times=1)
        with pytest.raises(CryptostreamError, match="Bad file descriptor"):
            await sink.write(GIVEN)


async def test_a_place_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(CryptostreamError, match="Is a directory"):
        await write(tmp_path, GIVEN)
