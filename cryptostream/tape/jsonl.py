"""Entries to a file, one JSON object a line: what `replay` reads again and any tool understands."""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from cryptostream.errors import CryptostreamError
from cryptostream.model.events import Entry
from cryptostream.model.ports import Sink


class JsonLines(Sink):
    """Appends entries to a JSONL file; a batch is accepted once it is on disk.

    Raises CryptostreamError where the file cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def __aenter__(self) -> Self:
        self._file = await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    async def write(self, events: Sequence[Entry]) -> None:
        """Append a batch and bring it to disk."""
        await asyncio.to_thread(self._append, "".join(map(_line, events)))

    def _open(self) -> TextIO:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise CryptostreamError(f"cannot write {self._path}: {error.strerror}") from error

    def _append(self, text: str) -> None:
        try:
            self._file.write(text)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise CryptostreamError(f"cannot write {self._path}: {error.strerror}", hint="free its disk") from error


def _line(entry: Entry) -> str:
    return json.dumps({"stream": entry.stream, "id": entry.entry_id, **entry.fields}, ensure_ascii=False) + "\n"
