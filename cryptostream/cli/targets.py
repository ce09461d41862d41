"""Which streams an operator means, and which groups on them."""

import re
from collections.abc import Collection, Sequence

from cryptostream.bus import history, operate
from cryptostream.bus.connect import Bus
from cryptostream.cli import reading
from cryptostream.errors import NotFound, UsageError
from cryptostream.registry import did_you_mean

_NAME = re.compile(r"[^\s*?\[\]\\]{1,200}")


def words_of(listed: Sequence[str] | None) -> list[str]:
    """Words as they were typed, commas or not.

    >>> words_of(["trades:*,BTCUSDT", "klines:*"]), words_of(None)
    (['trades:*', 'BTCUSDT', 'klines:*'], [])
    """
    return [word.strip() for words in listed or () for word in words.split(",") if word.strip()]


def check_name(name: str) -> None:
    """Raise UsageError for what cannot be the name of a stream, a group or a member."""
    if not _NAME.fullmatch(name) or not name.isprintable():
        raise UsageError(
            f"not a name: {name[:40]!a}", hint="printable, without blanks and globs, at most 200 characters"
        )


async def streams(bus: Bus, listed: Sequence[str] | None, *, new: bool = False) -> list[str]:
    """The streams that words stand for, all of them where there is no word.

    Raises NotFound for a word without one, unless it may be a `new` one.
    """
    words, names = words_of(listed), set[str]()
    for word in words:
        found = (await reading.find(bus, [word], wait=True)).names
        if not found and new and not history.is_glob(word):
            check_name(word)
            found = [word]
        if not found:
            raise NotFound(f'no stream "{word}"', hint=_hint(word, await history.streams(bus, "*")))
        names.update(found)
    if listed and not words:
        raise UsageError("names no stream", hint="one as in trades:BTCUSDT, or 'trades:*', or BTCUSDT")
    return sorted(names) if words else await history.streams(bus, "*")


async def group_on(bus: Bus, group: str, listed: Sequence[str] | None) -> list[operate.GroupOn]:
    """A group on each of these streams that has it, on all where none is named. Raises NotFound for neither."""
    every = await operate.groups(bus, await streams(bus, listed))
    return of_groups(every, [group], where=f" on {', '.join(words_of(listed))}" if listed else "")


def of_groups(every: Sequence[operate.GroupOn], wanted: Sequence[str], *, where: str = "") -> list[operate.GroupOn]:
    """Those of the wanted groups, all where none is named. Raises NotFound for a name that none has."""
    known = {one.group for one in every}
    for name in wanted:
        if name not in known:
            hint = did_you_mean(name, sorted(known)) or "cryptostream groups ls lists what there is"
            raise NotFound(f'no group "{name}"{where}', hint=hint)
    return [one for one in every if not wanted or one.group in wanted]


async def saved(bus: Bus, group: str, listed: Sequence[str] | None, on: Collection[str]) -> list[str]:
    """The streams, among those that were named if any were, for which a group has saved state."""
    found = await operate.saved(bus, group, on)
    return [name for name in found if name in on or not listed]


def _hint(word: str, names: Sequence[str]) -> str:
    if not names:
        return "the bus holds no streams: start one with cryptostream ingest"
    pairs = {part.strip("{}") for name in names for part in name.split(":")[1:]}
    meant = did_you_mean(word, names) or did_you_mean(word.upper(), sorted(pairs))
    return meant or "cryptostream streams ls lists what there is"
