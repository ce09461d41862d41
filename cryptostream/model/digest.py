"""One fingerprint of everything a run would write to its streams."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache


class Digest:
    """SHA-256 over the entries of any number of streams, each stream's entries in their order.

    Written `u32` for 4 bytes and `u64` for 8, both big-endian, `text(x)` for `u32(length of x in UTF-8)` and then x in
    UTF-8:

    * an entry is `text(entry id)`, `u32(number of fields)`, then `text(name) text(value)` of each field in its order;
    * a stream's digest is SHA-256 over its entries, one after the other;
    * the whole is SHA-256 over the streams in the order of their names' bytes, each as
      `text(name)`, `u64(number of entries)`, the 32 bytes of its digest.

    So it depends on every stream's name, ids, field names, values and their orders, and on nothing else: not on how the
    streams interleave, on batches or on speed, nor on what a stream held before. An entry with `raw_json` is another
    entry than the one without.

    >>> digest = Digest()
    >>> digest.add("trades:BTCUSDT", "1-1", {"price": "2"})
    >>> digest.entries, digest.hexdigest()[:16]
    (1, 'daf07812419fc938')
    """

    def __init__(self) -> None:
        self.entries = 0
        self._streams: dict[str, _Stream] = {}

    def add(self, stream: str, entry_id: str, fields: Mapping[str, str]) -> None:
        """Take in the next entry of a stream."""
        found = self._streams.get(stream)
        if found is None:
            found = self._streams[stream] = _Stream()
        found.add(entry_id, fields)
        self.entries += 1

    def hexdigest(self) -> str:
        """The fingerprint of all entries so far, 64 hexadecimal digits."""
        whole = hashlib.sha256()
        for name, stream in sorted((_bytes(name), stream) for name, stream in self._streams.items()):
            whole.update(_u32(len(name)) + name + stream.entries.to_bytes(8, "big") + stream.hash.digest())
        return whole.hexdigest()


class _Stream:
    def __init__(self) -> None:
        self.entries = 0
        self.hash = hashlib.sha256()

    def add(self, entry_id: str, fields: Mapping[str, str]) -> None:
        parts = [_text(entry_id), _u32(len(fields))]
        for name, value in fields.items():
            parts += (_name(name), _text(value))
        self.hash.update(b"".join(parts))
        self.entries += 1


def _text(text: str) -> bytes:
    encoded = _bytes(text)
    return _u32(len(encoded)) + encoded


_name = lru_cache(1024)(_text)  # an entry's field names are few


def _bytes(text: str) -> bytes:
    # A lone surrogate, which JSON can spell and UTF-8 cannot, must not stop a digest.
    return text.encode("utf-8", "surrogatepass")


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")
