"""Several pipelines in one process: drained on the first signal, cut on the second, ended by the first failure."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from cryptostream.engine.clock import SystemClock
from cryptostream.engine.pipeline import Pipeline
from cryptostream.engine.runtime import Runtime
from cryptostream.model.ports import Batch, Sink, Source
from cryptostream.testing import ListSink, ListSource, ManualClock


class Endless(Source):
    """Hands over one number at a time until stopped, then one more that was already there."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.committed: list[Any] = []

    async def batches(self) -> AsyncIterator[Batch[Any]]:
        yield Batch(["first"])
        await self.stopped.wait()
        yield Batch(["last"])

    async def commit(self, batch: Batch[Any]) -> None:
        self.committed += batch.events

    def stop(self) -> None:
        self.stopped.set()


class Stuck(Sink):
    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def write(self, events: Sequence[Any]) -> None:
        self.reached.set()
        await asyncio.Event().wait()


class Patient(ManualClock):
    """Time stands still, as in a process that never gets old."""

    async def sleep(self, delay_s: float) -> None:
        await asyncio.Event().wait()


async def sent(number: signal.Signals, when: asyncio.Event) -> None:
    await when.wait()
    os.kill(os.getpid(), number)
    await asyncio.Event().wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_signal_drains_what_was_read(number: signal.Signals, code: int) -> None:
    source, sink, begun = Endless(), ListSink(), asyncio.Event()

    class Begun(Sink):
        async def write(self, events: Sequence[Any]) -> None:
            begun.set()

    runtime = Runtime(
        [Pipeline("p", source, [sink, Begun()])], clock=Patient(), companions=[lambda: sent(number, begun)]
    )
    assert await runtime.run() == code
    assert sink.events == source.committed == ["first", "last"]


async def test_a_second_signal_cuts_what_does_not_drain() -> None:
    stuck = Stuck()

    async def twice() -> None:
        await stuck.reached.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await SystemClock().sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    runtime = Runtime([Pipeline("p", ListSource([1]), [stuck])], clock=Patient(), companions=[twice])
    assert await runtime.run() == 1


async def test_what_is_not_drained_in_ten_seconds_is_cut() -> None:
    clock, stuck = ManualClock(), Stuck()

    async def drain() -> None:
        await stuck.reached.wait()
        runtime.drain()
        await asyncio.Event().wait()

    started = clock.monotonic()
    runtime = Runtime([Pipeline("p", ListSource([1]), [stuck])], clock=clock, companions=[drain])
    assert await runtime.run() == 1
    assert clock.monotonic() - started <= 10.0


async def test_a_duration_ends_it_in_order() -> None:
    class FiveSeconds(Patient):
        async def sleep(self, delay_s: float) -> None:
            await (ManualClock.sleep if delay_s == 5 else Patient.sleep)(self, delay_s)

    source, sink = Endless(), ListSink()
    assert await Runtime([Pipeline("p", source, [sink])], clock=FiveSeconds(), duration_s=5).run() == 0
    assert sink.events == ["first", "last"]


async def test_one_failure_ends_all_and_is_told() -> None:
    class Failing(Sink):
        async def write(self, events: Sequence[Any]) -> None:
            raise OSError("disk full")

    runtime = Runtime(
        [Pipeline("good", Endless(), [ListSink()]), Pipeline("bad", ListSource([1]), [Failing()])], clock=Patient()
    )
    with pytest.raises(BaseExceptionGroup) as caught:
        await runtime.run()
    assert caught.group_contains(OSError, match="disk full")


BUSY = """
import asyncio, sys
from cryptostream.engine import runtime
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.pipeline import Pipeline
from cryptostream.model.ports import Sink
from cryptostream.testing import ListSource

runtime._CUT_S = 0.1


class Busy(Sink):
    async def write(self, events):
        print("busy", flush=True)
        while True:
            pass


sys.exit(asyncio.run(runtime.Runtime([Pipeline("p", ListSource([1]), [Busy()])], clock=SystemClock()).run()))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
def test_a_second_signal_ends_code_that_never_gives_the_loop_back(number: signal.Signals, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"busy\n"
            process.send_signal(number)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
            process.send_signal(number)
            assert process.wait(10) == code
        finally:
            process.kill()
