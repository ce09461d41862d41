"""Notices when the loop stands still, because a handler eats the CPU or blocks, and says in which code.

A thread asks the loop again and again to answer; where it does not, the thread looks at the stack that the loop runs
on. Waiting is counted in questions rather than in seconds, so that a process that was itself stopped blames nobody.
What never lets go of Python's own lock (one long regular expression) holds this thread up as well, and goes unseen.
"""

import asyncio
import sys
import sysconfig
import threading
from collections.abc import Sequence
from pathlib import Path
from traceback import FrameSummary, StackSummary, walk_stack
from types import TracebackType
from typing import Self

from cryptostream import logs
from cryptostream.engine.clock import SystemClock
from cryptostream.model.ports import Clock

AFTER_S = 1.0
_QUESTIONS = 4
"""Unanswered in that time."""
_TOLD = 12
_OURS = str(Path(__file__).parents[1])
_INSTALLED = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
_PYTHONS = (sysconfig.get_path("stdlib"), "<frozen")
_LOOP = tuple(str(Path(asyncio.__file__).with_name(name)) for name in ("base_events.py", "events.py", "runners.py"))
_log = logs.get("engine")


class Stall:
    """Watches the loop that enters it (`async with`); any thread may ask for `trouble`.

    A stall is logged when it has lasted `after_s`, and once more when it is over.
    """

    def __init__(self, *, after_s: float = AFTER_S, clock: Clock | None = None) -> None:
        self.count = 0
        """Times that the loop stood still since it was entered."""
        self._pause_s = after_s / _QUESTIONS
        self._clock = clock or SystemClock()
        self._now: tuple[float, str] | None = None
        """Since when it stands still, and where it was found last."""
        self._answered = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def trouble(self) -> str:
        """What the loop hangs in, and for how long; empty while it turns."""
        if (now := self._now) is None:
            return ""
        since_s, where = now
        return f"nothing else has run for {self._clock.monotonic() - since_s:.0f} s because of {where}"

    async def __aenter__(self) -> Self:
        watched = asyncio.get_running_loop(), threading.get_ident()
        self._thread = threading.Thread(target=self._watch, args=watched, name="stall", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._answered.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        while not self._ended.wait(self._pause_s):
            self._answered.clear()
            asked_s, unanswered = self._clock.monotonic(), 0
            loop.call_soon_threadsafe(self._answered.set)
            while not (self._answered.wait(self._pause_s) or self._ended.is_set()):
                unanswered += 1
                if unanswered >= _QUESTIONS:
                    self._look(asked_s, thread)
            self._over()

    def _look(self, since_s: float, thread: int) -> None:
        frames = _frames(thread)
        if not frames:
            return
        where, begins = _where(frames), self._now is None
        self._now = since_s, where
        if begins:
            self.count += 1
            told = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[:_TOLD])
            _log.warning("engine.stalled", where=where, frames=told)

    def _over(self) -> None:
        if self._now is not None:
            since_s, where = self._now
            self._now = None
            _log.warning("engine.turns_again", where=where, lasted_s=round(self._clock.monotonic() - since_s, 1))


def _frames(thread: int) -> Sequence[FrameSummary]:
    """What a thread runs, the innermost first, up to its loop."""
    innermost = sys._current_frames().get(thread)
    if innermost is None:
        return ()
    found = list(StackSummary.extract(walk_stack(innermost), lookup_lines=False))
    ends = next((index for index, frame in enumerate(found) if frame.filename in _LOOP), len(found))
    return found[:ends]


def _where(frames: Sequence[FrameSummary]) -> str:
    """The innermost code that is the user's own; where there is none, a package's, then ours, then Python's."""
    frame = min(frames, key=lambda frame: _strangeness(frame.filename))
    return f"{frame.name}, line {frame.lineno} of {Path(frame.filename).name}"


def _strangeness(filename: str) -> int:
    if filename.startswith(_OURS):
        return 2
    if filename.startswith(_INSTALLED):
        return 1
    return 3 if filename.startswith(_PYTHONS) else 0
