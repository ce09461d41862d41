"""Entries to a file, one JSON object a line: what `replay` reads again and any tool understands."""

import asyncio
import errno
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self, TypeVar

from cryptostream import logs
from cryptostream.engine.backoff import backoff
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import CryptostreamError
from cryptostream.model.events import Entry
from cryptostream.model.ports import Clock, Sink
from cryptostream.tape.append import Appended

T = TypeVar("T")

_PASSES = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_CLOCK = SystemClock()
_log = logs.get("tape")


class JsonLines(Sink):
    """Appends entries to a JSONL file; a batch is accepted once it is on disk.

    A line that somebody did not finish, who was killed, is cut off, and what the end of the file (1 MiB) holds when it
    is opened is not written again. While the disk is full or fails, `write` waits and `trouble` says why.

    Raises CryptostreamError where the file cannot be written, or ends with what is no JSON line.
    """

    def __init__(self, path: str, *, clock: Clock = _CLOCK) -> None:
        self.trouble = ""
        """Why the disk takes nothing now; empty while it does."""
        self._path = Path(path)
        self._clock = clock

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, "jsonl")
        try:
            self._file = await self._run(lambda: Appended.open(self._path))
            self._there = await self._run(self._file.tail)
        except OSError as error:
            raise self._refused(error) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Behind whatever the thread is still writing: a cancelled `write` is not a cancelled append.
        await self._run(self._file.close)
        self._thread.shutdown()

    async def write(self, events: Sequence[Entry]) -> None:
        """Append a batch and bring it to disk; it waits for as long as that cannot be done."""
        lines = b"".join(line for line in map(_line, events) if line not in self._there)
        delays = backoff(Random(), cap_s=5.0)  # noqa: S311 - jitter, not a secret
        while lines and not await self._is_appended(lines):
            await self._clock.sleep(next(delays))

    async def _is_appended(self, lines: bytes) -> bool:
        try:
            await self._run(lambda: self._file.append(lines))
        except OSError as error:
            if error.errno not in _PASSES:
                raise self._refused(error) from error
            self._note(f"cannot write {self._path}: {error.strerror}")
            return False
        self._note("")
        return True

    def _note(self, trouble: str) -> None:
        if trouble and not self.trouble:
            _log.warning("jsonl.stalled", reason=trouble)
        if self.trouble and not trouble:
            _log.info("jsonl.resumed", file=str(self._path))
        self.trouble = trouble

    def _refused(self, error: OSError) -> CryptostreamError:
        return CryptostreamError(f"cannot write {self._path}: {error.strerror}")

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _line(entry: Entry) -> bytes:
    text = json.dumps({"stream": entry.stream, "id": entry.entry_id, **entry.fields}, ensure_ascii=False)
    return f"{text}\n".encode()
