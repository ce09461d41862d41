"""Dead letters as the web shows them, and their way back into the streams they came from."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cryptostream.bus.connect import Bus
from cryptostream.bus.glance import Glance, Glimpse, entry
from cryptostream.bus.operate import letters
from cryptostream.errors import NotFound, UsageError
from cryptostream.model.events import Entry
from cryptostream.web import shown
from cryptostream.wiring.serving import pages
from cryptostream.wiring.serving.times import utc

_ID = re.compile(r"\d{1,19}-\d{1,19}", re.ASCII)
_LONGEST = 500


async def newest(glance: Glance, there: Mapping[str, Glimpse], limit: int) -> list[shown.Letter]:
    """The newest of all queues, newest first; `there` is a look at all streams."""
    queues = [name for name in there if name.startswith(letters.PREFIX)]
    found = await pages.newest(glance, there, queues, limit)
    return [_letter(entry(queue, raw)) for queue, raw in reversed(found)]


async def retry(bus: Bus, queue: str, ids: Sequence[str]) -> shown.Retried:
    """Give entries back to their groups; how many that were, and why the others stay.

    Raises NotFound for letters that are not there, UsageError where none of them can go back, and why.
    """
    key = letters.key_of(queue)
    if letters.are_frames(key):
        raise UsageError("frames that nobody could read never were entries, and there is nothing to retry")
    for entry_id in ids:
        _check_id(entry_id)
    found = [letter async for page in letters.pages(bus, key, ids) for letter in page] if ids else []
    if missing := set(ids).difference(letter.entry_id for letter in found):
        raise NotFound(f"no dead letter {min(missing)} in {key}")
    whys = [await letters.retry(bus, letter) for letter in found]
    left = list(dict.fromkeys(filter(None, whys)))
    if whys and all(whys):
        raise UsageError("; ".join(left))
    return shown.Retried(retried=sum(not why for why in whys), left=left)


def _check_id(entry_id: str) -> None:
    if _ID.fullmatch(entry_id) is None:
        raise UsageError(f"not the id of a letter: {entry_id[:80]!a}", hint="as in 1731605400123-0")


def _letter(found: Entry) -> shown.Letter:
    told: Mapping[str, Any] = letters.contents(found)
    why, at = told.get("error") or told.get("reason") or "", utc(told.get("ts"))
    return shown.Letter(
        id=found.entry_id,
        queue=found.stream,
        stream=str(told.get("stream") or told.get("source") or ""),
        entry=str(told.get("entry_id") or ""),
        error=str(why)[:_LONGEST],
        ts=f"{at[:23]}Z" if at else None,
    )
