"""Every frame of a connection kept exactly as it was received, in files that are whole whatever happens.

The form is that of hftbacktest's collector: gzip text, `<receive time, ns since epoch> <frame>` a line, one file per
connection and hour. What is flushed together is one gzip member, written by one call, so a file that is still in
progress, or was left behind by a kill -9, reads to the last flush with any gzip tool.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptostream.errors import CryptostreamError, UsageError
from cryptostream.model.instrument import check_symbol
from cryptostream.model.ports import Clock
from cryptostream.tape.forms import ENTRIES
from cryptostream.tape.hours import HourFiles, Received
from cryptostream.tape.reader import Tape, recognise

FLUSH_EVERY_S = 1.0
MAX_WAITING_BYTES = 64 << 20


def read(path: Path, *, skip_bad: bool = False) -> Tape[bytes]:
    """The frames of one file as (receive time in ns, frame, line number), in the file's order.

    Raises NotFound, UsageError for a file that holds no frames, and, while it is iterated, DataQuality.
    """
    tape = recognise(path, skip_bad=skip_bad)
    if tape is None or tape.form is ENTRIES:
        raise UsageError(f"{path} holds no frames", hint="a line is: receive time in ns, a space, the frame")
    return tape


class FrameTape:
    """The recorder of one connection. `write` costs an append; a thread compresses and writes what has come, every
    `flush_every_s`. A frame is safe from kill -9 once it is flushed, and from a power cut once its file is closed.

    The hour of a frame is told by its receive time, so no clock decides where it goes. Above `max_waiting_bytes`, where
    the disk is slower than the feed, frames are dropped and counted in `dropped`.
    """

    def __init__(
        self,
        folder: Path,
        connection: str,
        *,
        clock: Clock,
        flush_every_s: float = FLUSH_EVERY_S,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        """`connection` becomes part of file names; raises UsageError for one that is no plain word."""
        self.written = 0
        self.dropped = 0
        self._files = HourFiles(folder, check_symbol(connection))
        self._clock = clock
        self._flush_every_s = flush_every_s
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: list[Received] = []
        self._waiting_bytes = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"tape-{connection}")

    async def __aenter__(self) -> Self:
        await self._run(self._files.prepare)
        self._flusher = asyncio.create_task(self._flush_for_ever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits and close the file. Raises what the disk said, unless another error is on its way."""
        self._flusher.cancel()
        with suppress(asyncio.CancelledError, CryptostreamError):
            await self._flusher
        try:
            await self.flush()
            await self._run(self._files.close)
        except CryptostreamError:
            if error is None:
                raise
        finally:
            self._thread.shutdown()

    def write(self, received_at: int, frame: bytes, *, control: bool = False) -> None:
        """Keep one frame; `received_at` is nanoseconds since the epoch.

        `control` frames, the answers to what we sent, are kept wrapped, so that other tools pass over them.
        Raises CryptostreamError once the disk has refused a flush.
        """
        if self._files.failure is not None:
            raise self._files.failure
        if self._waiting_bytes > self._max_waiting_bytes:
            self.dropped += 1
            return
        self._waiting_bytes += len(frame)
        self._waiting.append((received_at, frame, control))

    async def flush(self) -> None:
        """Return once all frames so far are in the file. Raises CryptostreamError where the disk refuses them."""
        taken, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if taken:
            await self._run(self._files.append, taken)
            self.written += len(taken)

    async def _flush_for_ever(self) -> None:
        while True:
            await self._clock.sleep(self._flush_every_s)
            await self.flush()

    async def _run(self, work: Callable[..., None], *arguments: Any) -> None:
        """Have the one thread do something: what it does goes in order, even when nobody waits any more."""
        # Shielded: a job that is cancelled while it still waits for the thread would never run, and its frames be lost.
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments))
