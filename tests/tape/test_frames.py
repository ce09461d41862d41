"""The recorder of a connection: cheap to write to, whole when it is closed."""

import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import CryptostreamError, UsageError
from cryptostream.tape import hours
from cryptostream.tape.frames import FrameTape, read

START = 498_721 * 3_600_000_000_000
NAME = "binance-0-20261123T01.raw.gz"


class TickingClock:
    """A clock whose sleepers wake when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._tick = asyncio.Event()

    def now_ns(self) -> int:
        raise AssertionError("no clock decides where a frame goes")

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, delay_s: float) -> None:
        self.asked.append(delay_s)
        await self._tick.wait()
        self._tick.clear()

    def tick(self) -> None:
        self._tick.set()


def recorded(folder: Path) -> list[tuple[int, bytes]]:
    return [(line.at, line.item) for line in read(folder / NAME)]


async def until(true: Any) -> None:
    """Let the loop run until something holds; the test's timeout is the limit."""
    while not true():
        await SystemClock().sleep(0.001)


async def test_closing_writes_every_frame_in_its_order(tmp_path: Path) -> None:
    async with FrameTape(tmp_path, "binance-0", clock=TickingClock()) as tape:
        for number in range(5):
            tape.write(START + number, b'{"n":%d}' % number)

    assert recorded(tmp_path) == [(START + number, b'{"n":%d}' % number) for number in range(5)]
    assert (tape.written, tape.dropped) == (5, 0)


async def test_what_waits_is_flushed_by_the_clock(tmp_path: Path) -> None:
    clock = TickingClock()
    async with FrameTape(tmp_path, "binance-0", clock=clock, flush_every_s=2.5) as tape:
        tape.write(START, b"{}")
        assert not list(tmp_path.iterdir())
        clock.tick()
        await until(lambda: tape.written)

        assert [line.at for line in read(tmp_path / f"{NAME}.inprogress")] == [START]
    assert set(clock.asked) == {2.5}


async def test_compression_happens_in_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    original = hours.HourFiles.append

    def append(self: hours.HourFiles, frames: Any) -> None:
        threads.append(threading.current_thread())
        original(self, frames)

    monkeypatch.setattr(hours.HourFiles, "append", append)
    async with FrameTape(tmp_path, "binance-0", clock=TickingClock()) as tape:
        tape.write(START, b"{}")

    assert threads and threading.main_thread() not in threads


async def test_control_frames_are_kept_out_of_the_way(tmp_path: Path) -> None:
    async with FrameTape(tmp_path, "binance-0", clock=TickingClock()) as tape:
        tape.write(START, b'{"result":null,"id":1}', control=True)

    assert recorded(tmp_path) == [(START, b'{"result":null,"id":1}')]


async def test_a_disk_slower_than_the_feed_drops_and_counts(tmp_path: Path) -> None:
    async with FrameTape(tmp_path, "binance-0", clock=TickingClock(), max_waiting_bytes=100) as tape:
        for number in range(10):
            tape.write(START + number, b"x" * 40)
        await tape.flush()
        tape.write(START + 99, b"room again")

    assert [at - START for at, _ in recorded(tmp_path)] == [0, 1, 2, 99]
    assert (tape.written, tape.dropped) == (4, 7)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\nb", "x" * 33, "a b"])
async def test_a_connection_that_is_no_plain_word_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        FrameTape(tmp_path, name, clock=TickingClock())


async def test_a_folder_that_cannot_be_made_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CryptostreamError, match="cannot record to"):
        async with FrameTape(tmp_path / "file" / "folder", "binance-0", clock=TickingClock()):
            raise AssertionError("not reached")


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(descriptor: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)


async def test_a_full_disk_is_told_by_the_next_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = TickingClock()
    with pytest.raises(CryptostreamError, match="No space left"):
        async with FrameTape(tmp_path, "binance-0", clock=clock) as tape:
            fill(monkeypatch)
            tape.write(START, b"{}")
            clock.tick()
            await until(lambda: tape._files.failure)
            tape.write(START, b"{}")
            raise AssertionError("not reached")


async def test_a_full_disk_is_told_at_the_latest_on_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CryptostreamError, match="No space left"):
        async with FrameTape(tmp_path, "binance-0", clock=TickingClock()) as tape:
            fill(monkeypatch)
            tape.write(START, b"{}")


async def test_an_error_on_its_way_is_not_hidden_by_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        async with FrameTape(tmp_path, "binance-0", clock=TickingClock()) as tape:
            fill(monkeypatch)
            tape.write(START, b"{}")
            raise ZeroDivisionError


async def test_a_cancelled_recorder_keeps_what_came(tmp_path: Path) -> None:
    inside = asyncio.Event()

    async def run() -> None:
        async with FrameTape(tmp_path, "binance-0", clock=TickingClock()) as tape:
            tape.write(START, b"{}")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert recorded(tmp_path) == [(START, b"{}")]


async def test_closing_while_a_flush_still_waits_for_its_thread_loses_nothing(tmp_path: Path) -> None:
    clock, gate = TickingClock(), threading.Event()
    tape = FrameTape(tmp_path, "binance-0", clock=clock)
    await tape.__aenter__()
    await until(lambda: clock.asked)
    tape._thread.submit(gate.wait)
    tape.write(START, b'{"n":0}')
    clock.tick()
    await until(lambda: not tape._waiting)
    closing = asyncio.ensure_future(tape.__aexit__(None, None, None))
    await until(lambda: tape._flusher.done())
    gate.set()
    await closing
    assert recorded(tmp_path) == [(START, b'{"n":0}')]
