"""Which change of a list of pairs is applied: never all of it at once, for a provider can be wrong."""

from collections.abc import Sequence


def limited(
    before: Sequence[str], after: Sequence[str], most: float = 0.5, *, force: bool = False
) -> tuple[list[str], list[str]]:
    """The pairs to follow next, and the changes that are put off until the next time.

    At most that share of the list goes, and as many may come: the last of those that are to go, the first of those that
    are to come; what is in both stays. With `force` all is changed at once. A new list that is empty changes nothing.

    >>> limited(["A", "B", "C", "D"], ["D", "W", "X", "Y"])
    (['D', 'W', 'X', 'A'], ['A', 'Y'])
    """
    if not after:
        return list(before), []
    room = len(after) + len(before) if force or not before else max(1, int(len(before) * most))
    going = [pair for pair in reversed(before) if pair not in set(after)]
    coming = [pair for pair in dict.fromkeys(after) if pair not in set(before)]
    staying, waiting = going[room:][::-1], coming[room:]
    admitted = [pair for pair in dict.fromkeys(after) if pair not in set(waiting)]
    return admitted + staying, staying + waiting
