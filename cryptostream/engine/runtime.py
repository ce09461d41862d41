"""Several pipelines in one process, under one TaskGroup: the first signal drains them, the second cuts."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from cryptostream import logs
from cryptostream.model.ports import Clock

DRAIN_S = 10.0
_CUT_S = 2.0
"""How long a second signal waits for code that does not give way."""
_INTERRUPTED = 130
_YOUNG = 50_000
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_log = logs.get("engine")

Companion = Callable[[], Awaitable[None]]


class Work(Protocol):
    """What a runtime runs: a Pipeline, or whatever has its face."""

    name: str

    async def run(self) -> None: ...

    def stop(self) -> None:
        """Read nothing more; what was read is finished."""


class Runtime:
    """Runs pipelines until all have ended, a duration has passed, or a signal came.

    `companions` are endless jobs beside them (a status line, counters); they end with the pipelines. The first failure
    ends everything and is raised, in an exception group.
    """

    def __init__(
        self,
        pipelines: Sequence[Work],
        *,
        clock: Clock,
        companions: Sequence[Companion] = (),
        duration_s: float | None = None,
    ) -> None:
        self._pipelines = pipelines
        self._clock = clock
        self._companions = companions
        self._duration_s = duration_s
        self._signal: signal.Signals | None = None
        self._draining = asyncio.Event()
        self._cut = False

    async def run(self) -> int:
        """Run to the end and return the exit code: 0 done or drained, 130 interrupted."""
        spare_the_collector()
        with self._signals():
            work = asyncio.ensure_future(self._work())
            stopper = asyncio.ensure_future(self._stop_in_time(work))
            try:
                await work
            except asyncio.CancelledError:
                if not self._cut:
                    raise
            finally:
                stopper.cancel()
        return self._exit_code()

    @property
    def signalled(self) -> bool:
        """Whether a signal asked for the end."""
        return self._signal is not None

    def drain(self) -> None:
        """Stop reading, write and commit what was read, then end."""
        self._draining.set()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(_endless(companion)) for companion in self._companions]
            if self._duration_s is not None:
                beside.append(group.create_task(self._after_duration(self._duration_s)))
            async with asyncio.TaskGroup() as pipelines:
                for pipeline in self._pipelines:
                    pipelines.create_task(pipeline.run(), name=pipeline.name)
            for task in beside:
                task.cancel()

    async def _after_duration(self, duration_s: float) -> None:
        await self._clock.sleep(duration_s)
        self.drain()

    async def _stop_in_time(self, work: asyncio.Future[None]) -> None:
        """Once asked to drain: stop every source, and cut what has not ended within 10 s."""
        await self._draining.wait()
        for pipeline in self._pipelines:
            pipeline.stop()
        await self._clock.sleep(DRAIN_S - 1)
        _log.error("engine.cut", why=f"not drained within {DRAIN_S:g} s")
        self._cut = True
        work.cancel()

    def _on_signal(self, number: signal.Signals, task: asyncio.Task[object]) -> None:
        if self._signal is None:
            self._signal = number
            _log.info("engine.draining", signal=number.name)
            self.drain()
        else:
            self._cut = True
            task.cancel()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """By `signal` and not by the loop's own handlers: these are heard by code that never gives the loop back."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        last_words: list[threading.Timer] = []

        def hear(number: int, _frame: object) -> None:
            loop.call_soon_threadsafe(self._on_signal, signal.Signals(number), task)
            timer = threading.Timer(_CUT_S if last_words else DRAIN_S, _leave, (number,))
            timer.daemon = True
            timer.start()
            last_words.append(timer)

        before = {number: signal.signal(number, hear) for number in _SIGNALS}
        try:
            yield
        finally:
            for timer in last_words:
                timer.cancel()
            for number, theirs in before.items():
                signal.signal(number, theirs)

    def _exit_code(self) -> int:
        if self._signal is signal.SIGINT:
            return _INTERRUPTED
        return 1 if self._cut else 0


def _leave(number: int) -> None:
    """The end of a process whose code neither ends nor waits: what is not acknowledged comes again."""
    _log.error("engine.stuck", why="the code at work has not given way; its entries stay pending")
    os._exit(_INTERRUPTED if number == signal.SIGINT else 1)


def spare_the_collector(young: int = _YOUNG) -> None:
    """What lives now lives to the end, and records hold no cycles: looking for garbage among them is wasted.

    `young` is after how many objects it looks all the same; a thousand of them hold up the loop for a tenth of a
    millisecond.
    """
    gc.freeze()
    gc.set_threshold(young, 20, 100)


async def _endless(companion: Companion) -> None:
    await companion()
