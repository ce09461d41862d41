"""A transform over entries of which each can fail by itself: what came out, what is done, what has to come again."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cryptostream.model.events import Entry
from cryptostream.model.ports import Transform


class Handled(NamedTuple):
    """What was `made` of the entries that are `done`; of each stream the first that failed, and why.

    What follows a failed entry in its stream is neither.
    """

    made: Sequence[Any]
    done: Sequence[Entry]
    failed: Sequence[tuple[Entry, Exception]] = ()


def handle(
    transform: Transform, entries: Sequence[Entry], *, left: int | None, counts: Callable[[Any], bool]
) -> Handled:
    """Transform entries until there are `left` events of those that count, or until all are done."""
    made: list[Any] = []
    done: list[Entry] = []
    failed: dict[str, tuple[Entry, Exception]] = {}
    for entry in entries:
        if left is not None and left <= 0:
            break
        if entry.stream in failed:
            continue
        try:
            of_it = list(transform(entry))
        except Exception as error:  # whatever it is, it is the transform's own
            failed[entry.stream] = entry, error
            continue
        made += of_it
        done.append(entry)
        if left is not None:
            left -= sum(map(counts, of_it))
    return Handled(made, done, list(failed.values()))
