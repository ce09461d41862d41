"""Dead letters: entries that no member of a group could handle, and frames that nobody could read, set aside.

`dlq:<group>` holds `stream`, `entry_id`, `error`, `deliveries`, `ts` and the entry's own fields as `entry.<name>`;
`dlq:ingest` holds frames.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import ResponseError

from cryptostream.bus import history
from cryptostream.bus.ask import asking, heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.bus.effects.letter import letters_key
from cryptostream.bus.effects.state import state_key
from cryptostream.bus.keys import DEAD_LETTERS
from cryptostream.model.entryid import parse_id
from cryptostream.model.events import Entry

PREFIX = "dlq:"
RETRIER = "dlq-retry"
"""The member that holds what is to be handled again until one that lives takes it over."""
_FIELD = "entry."
_NUMBERS = ("deliveries", "size")
_IDLE_MS = 365 * 86_400_000  # longer than any `claim_idle`, so that the next look takes it


def key_of(name: str) -> str:
    """The stream of a group's dead letters; `ingest` for frames.

    >>> key_of("signals"), key_of("dlq:signals")
    ('dlq:signals', 'dlq:signals')
    """
    return name if name.startswith(PREFIX) else letters_key(name)


def are_frames(key: str) -> bool:
    """Whether these are frames that never became entries."""
    return key == DEAD_LETTERS


def contents(letter: Entry) -> dict[str, Any]:
    """A letter as one object: what is told about it, then `entry`, the fields it had.

    >>> contents(Entry("dlq:g", "1-0", {"error": "no", "deliveries": "5", "entry.price": "5"}))
    {'error': 'no', 'deliveries': 5, 'entry': {'price': '5'}}
    """
    told = {name: _value(name, value) for name, value in letter.fields.items() if not name.startswith(_FIELD)}
    entry = {name.removeprefix(_FIELD): value for name, value in letter.fields.items() if name.startswith(_FIELD)}
    return {**told, **({"entry": entry} if entry else {})}


async def pages(bus: Bus, key: str, ids: Sequence[str]) -> AsyncGenerator[list[Entry], None]:
    """Pages of the letters of these ids, or of all that there are now."""
    if not ids:
        top = (await history.tops(bus, [key]))[key]
        async for page in history.between(bus, key, "-", top):
            yield page
        return
    with asking(bus, key):
        for entry_id in ids:
            heed_cancellation()
            found: Any = await bus.command.xrange(key, entry_id, entry_id)
            yield [Entry(key, one, fields) for one, fields in found]


async def retry(bus: Bus, letter: Entry) -> str:
    """Make the entry of a letter pending again, its deliveries forgotten, and drop the letter; else say why not.

    It is held by RETRIER as if for a year, so that the group's next look for entries of members that are gone takes
    it over. Should we die in between, both are there, and a second retry changes nothing.

    What remembers its stream skips entries that are not above its state: there the letter would be lost.
    """
    stream, entry_id = letter.fields.get("stream", ""), letter.fields.get("entry_id", "")
    if not stream or not entry_id:
        return "it does not say which entry it was"
    group = letter.stream.removeprefix(PREFIX)
    if upto := await _in_state(bus, group, stream, entry_id):
        return f"the state of {group} on {stream} goes up to {upto}, so the entry would be skipped"
    with asking(bus, stream):
        try:
            claimed = await bus.command.xclaim(
                stream, group, RETRIER, 0, [entry_id], idle=_IDLE_MS, retrycount=0, force=True, justid=True
            )
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            return f"group {group} is not on {stream} any more"
    if not claimed:
        return f"{stream} was trimmed, and the entry is gone"
    await drop(bus, letter.stream, [letter.entry_id])
    return ""


async def drop(bus: Bus, key: str, ids: Sequence[str]) -> int:
    """Delete letters; how many were there."""
    with asking(bus, key):
        return int(await bus.command.xdel(key, *ids)) if ids else 0


async def _in_state(bus: Bus, group: str, stream: str, entry_id: str) -> str:
    """Up to where a group's state of a stream goes, if that is beyond the entry."""
    key = state_key(group, stream)
    with asking(bus, key):
        upto: Any = await bus.command.hget(key, "upto")
    with suppress(ValueError):  # an id that is none is for the server to refuse
        return str(upto) if upto and parse_id(upto) >= parse_id(entry_id) else ""
    return ""


def _value(name: str, text: str) -> str | int:
    return int(text) if name in _NUMBERS and text.isdecimal() and text.isascii() and len(text) < 20 else text
