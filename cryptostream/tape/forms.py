"""How a line of a tape reads: frames as we and hftbacktest write them, cryptofeed's samples, entries as JSON lines."""

import base64
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from cryptostream.model.events import Entry

T = TypeVar("T")

_MAX_DIGITS = 19


class Form(NamedTuple, Generic[T]):
    """One way to write a tape down. `read` gives (time in ns, item), None for a line that holds none; ValueError."""

    name: str
    looks: Callable[[bytes], Any]
    read: Callable[[bytes], tuple[int, T] | None]


# A frame that a line cannot hold as it is travels in here. Whoever reads combined streams by their event type `e`, as
# hftbacktest's converters do, meets a type it does not know and passes over it.
_WRAP = b'{"stream":"base64","data":{"e":"base64","frame":"'
_WRAP_END = b'"}}'


def frame_line(received_at: int, frame: bytes, *, wrapped: bool = False) -> bytes:
    r"""One frame as a line: `<receive time, ns since epoch> <frame exactly as received>\n`.

    >>> frame_line(1723161253937085768, b'{"e":"trade"}')
    b'1723161253937085768 {"e":"trade"}\n'

    A frame that holds a newline, is empty or is not UTF-8 is wrapped in base64, and `read_frame` unwraps it: whatever
    the bytes, they come back the same.
    """
    if wrapped or not _fits(frame):
        frame = _WRAP + base64.b64encode(frame) + _WRAP_END
    return b"%d %b\n" % (received_at, frame)


def _fits(frame: bytes) -> bool:
    if not frame or b"\n" in frame or frame.startswith(_WRAP):
        return False
    try:
        frame.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_frame(line: bytes) -> tuple[int, bytes]:
    """The receive time in ns and the frame of a line. Raises ValueError."""
    received_at, _, frame = line.partition(b" ")
    if not received_at.isdigit() or len(received_at) > _MAX_DIGITS:
        raise ValueError("it does not start with a receive time")
    if not frame:
        raise ValueError("it holds no frame")
    return int(received_at), _unwrapped(frame) if frame.startswith(_WRAP) else frame


def _unwrapped(frame: bytes) -> bytes:
    if not frame.endswith(_WRAP_END):
        raise ValueError("its wrapping is cut")
    return base64.b64decode(frame[len(_WRAP) : -len(_WRAP_END)], validate=True)


# First line of a sample: `<ws url> <-> <unix s>`. Then `<ws url> <- <unix s>: <sent>`, `<url> -> <unix s>: <REST body>`
# and `<unix s>: <frame>`.
_CRYPTOFEED_FRAME = re.compile(rb"(\d{9,10}\.\d{1,9}): (.+)", re.DOTALL)
_CRYPTOFEED_TALK = re.compile(rb"(?:wss?|https?)://\S+ (?:<->|<-|->) \d{9,10}\.\d+")


def _read_cryptofeed(line: bytes) -> tuple[int, bytes] | None:
    if found := _CRYPTOFEED_FRAME.match(line):
        return int(Decimal(found[1].decode()).scaleb(9)), found[2]
    if line.strip() and not _CRYPTOFEED_TALK.match(line):
        raise ValueError("it does not start with a receive time")
    return None


_ENTRY_ID = re.compile(r"(\d{1,13})-\d{1,20}")
_read_fields = msgspec.json.Decoder(dict[str, str]).decode


def _read_entry(line: bytes) -> tuple[int, Entry]:
    """An entry and the time of its id in ns."""
    try:
        fields = _read_fields(line)
        stream, entry_id = fields.pop("stream"), fields.pop("id")
    except (msgspec.DecodeError, KeyError) as error:
        raise ValueError("it is not an entry: a JSON object of texts with stream and id") from error
    found = _ENTRY_ID.fullmatch(entry_id)
    if not found:
        raise ValueError(f"{entry_id[:40]!a} is not an entry id")
    return int(found[1]) * 1_000_000, Entry(stream, entry_id, fields)


def _looks_like_entry(line: bytes) -> bool:
    try:
        _read_entry(line)
    except ValueError:
        return False
    return True


FRAMES: Form[bytes] = Form("frames", re.compile(rb'\d{1,19} [{\["]|\d{19} \S').match, read_frame)
CRYPTOFEED: Form[bytes] = Form(
    "cryptofeed frames", lambda line: _CRYPTOFEED_FRAME.match(line) or _CRYPTOFEED_TALK.match(line), _read_cryptofeed
)
ENTRIES: Form[Entry] = Form("entries", _looks_like_entry, _read_entry)

FORMS: tuple[Form[Any], ...] = (FRAMES, CRYPTOFEED, ENTRIES)
