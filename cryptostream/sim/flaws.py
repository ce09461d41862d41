"""How a flaw spoils an event: one payload in, the frames that leave instead of it out."""

import json
from collections.abc import Callable, Iterator, Mapping

from cryptostream.sim.faults import Fault

_HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def without(payload: bytes, field: str) -> bytes:
    """The event without one field, looked for in the candle too."""
    event = json.loads(payload)
    event.pop(field, None)
    event.get("k", {}).pop(field, None)
    return _text(event)


def retyped(payload: bytes, field: str) -> bytes:
    """The event with one field of another type: text becomes a list, a number becomes text."""
    event = json.loads(payload)
    for part in (event, event.get("k", {})):
        if field in part:
            part[field] = [part[field]] if isinstance(part[field], str) else str(part[field])
    return _text(event)


def extended(payload: bytes) -> bytes:
    """The event with fields that nobody knows yet."""
    return payload[:-1] + b',"st":1,"zz":{"list":[1,null,"\xe2\x82\xac"]}}'


def unknown(payload: bytes) -> bytes:
    """An event of a type that nobody knows yet."""
    return _text(json.loads(payload) | {"e": "tradeV9"})


def giant(size: int) -> bytes:
    """A well-formed frame of about `size` bytes."""
    return b'{"e":"trade","pad":"' + b"x" * max(0, size - 22) + b'"}'


def _text(event: object) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


_GARBAGE: Mapping[str, Callable[[bytes], bytes]] = {
    "text": lambda _: b"upstream connect error or disconnect/reset before headers",
    "truncated": lambda frame: frame[: len(frame) * 2 // 3],
    "utf8": lambda frame: frame[:-2] + b"\xff\xfe" + frame[-2:],
    "html": lambda _: _HTML,
    "deep": lambda _: b'{"data":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
}


def garbage(frame: bytes, how: str, pick: Callable[[int], int]) -> bytes:
    """A frame that nobody can read, made from a good one; `how` is one of the names above, or `any`."""
    names = list(_GARBAGE)
    return _GARBAGE[how if how in _GARBAGE else names[pick(len(names))]](frame)


def changed(payload: bytes, flaws: list[Fault]) -> bytes:
    """The event after the flaws that alter it."""
    for flaw in flaws:
        if flaw.kind == "missing":
            payload = without(payload, flaw.option("field"))
        elif flaw.kind == "mistype":
            payload = retyped(payload, flaw.option("field"))
        elif flaw.kind == "extra":
            payload = extended(payload)
    return payload


def beside(frame: bytes, payload: bytes, flaws: list[Fault], pick: Callable[[int], int]) -> Iterator[bytes]:
    """The frames that flaws send along with a good one; `frame` is the payload in its envelope."""
    for flaw in flaws:
        if flaw.kind == "garbage":
            yield garbage(frame, flaw.option("how"), pick)
        elif flaw.kind == "giant":
            yield giant(flaw.number("bytes"))
        elif flaw.kind == "unknown":
            yield frame.replace(payload, unknown(payload))
