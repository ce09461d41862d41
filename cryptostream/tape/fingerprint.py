"""The digest of one stream's entries, taken by columns: what `model.digest.Digest` tells, at a tenth of its cost."""

import hashlib
import sys
from array import array
from collections.abc import Sequence

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

_AT_ONCE = 32_768


class Fingerprint:
    """Takes in entries of one stream that have the same fields, and tells what `Digest` would tell of all of them."""

    def __init__(self, stream: str) -> None:
        self.entries = 0
        self._name = stream.encode("utf-8", "surrogatepass")
        self._hash = hashlib.sha256()

    def add(self, fields: Sequence[str], ids: pa.Array, columns: Sequence[pa.Array]) -> None:
        """The next entries: the names of their fields, their ids, and the texts of each field, none of them null."""
        names = [_text(field.encode("utf-8", "surrogatepass")) for field in fields]
        for start in range(0, len(ids), _AT_ONCE):
            pieces: list[pa.Array | pa.Scalar] = [*_told(ids[start : start + _AT_ONCE])]
            constant = _u32(len(fields))
            for name, column in zip(names, columns, strict=True):
                pieces += [pa.scalar(constant + name, pa.binary()), *_told(column[start : start + _AT_ONCE])]
                constant = b""
            self._take(pieces if fields else [*pieces, pa.scalar(constant, pa.binary())])
        self.entries += len(ids)

    def hexdigest(self) -> str:
        """The fingerprint of all entries so far, 64 hexadecimal digits."""
        whole = _text(self._name) + self.entries.to_bytes(8, "big") + self._hash.digest()
        return hashlib.sha256(whole).hexdigest()

    def _take(self, pieces: list[pa.Array | pa.Scalar]) -> None:
        joined = pc.binary_join_element_wise(*pieces, b"")
        if joined.null_count:
            raise ValueError("an entry lacks a field")
        self._hash.update(memoryview(joined.buffers()[2])[: _end(joined)])


def _end(joined: pa.Array) -> int:
    return int.from_bytes(memoryview(joined.buffers()[1])[4 * len(joined) : 4 * len(joined) + 4], sys.byteorder)


def _told(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Each text's length as four bytes, and its bytes."""
    lengths = array("i")
    lengths.frombytes(memoryview(pc.binary_length(texts).buffers()[1])[: 4 * len(texts)])
    if sys.byteorder == "little":
        lengths.byteswap()
    told = pa.FixedSizeBinaryArray.from_buffers(pa.binary(4), len(texts), [None, pa.py_buffer(lengths)])
    return told.cast(pa.binary()), texts.view(pa.binary())


def _text(encoded: bytes) -> bytes:
    return _u32(len(encoded)) + encoded


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")
