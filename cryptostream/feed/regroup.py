"""Which connection follows what: as few changes as a new set of subscriptions needs."""

from collections.abc import Collection, Sequence
from itertools import chain

from cryptostream.model.instrument import Subscription

Group = tuple[Subscription, ...]


def regroup(groups: Sequence[Group], wanted: Collection[Subscription], *, pairs: int, streams: int) -> list[Group]:
    """The groups of connections that follow just what is wanted, each in the place of its old one, new ones behind.

    What was followed stays where it is. A pair is never torn apart unless it would not fit: no group has more than so
    many `pairs`, nor more than so many `streams`. New ones go with their pair, else to connections that change anyway,
    else to whichever has room. A group may become empty.
    """
    kept, followed = set(wanted), set(chain.from_iterable(groups))
    made = [_Plan([each for each in group if each in kept], changed=not kept.issuperset(group)) for group in groups]
    for pair, added in _by_pair([each for each in wanted if each not in followed]):
        fitting = [plan for plan in made if plan.fits(pair, len(added), pairs=pairs, streams=streams)]
        if not fitting:
            fitting = [_Plan([], changed=True)]
            made += fitting
        min(fitting, key=lambda plan: plan.rank(pair)).add(pair, added)
    return [tuple(plan.group) for plan in made]


def halves(group: Group) -> tuple[Group, Group] | None:
    """A group in two, by pairs, so that one that makes trouble is alone in the end; None for a single pair."""
    parts = _by_pair(group)
    middle = len(parts) // 2
    if not middle:
        return None
    first, second = parts[:middle], parts[middle:]
    return tuple(each for _, part in first for each in part), tuple(each for _, part in second for each in part)


def _by_pair(subscriptions: Collection[Subscription]) -> list[tuple[str, list[Subscription]]]:
    by_pair: dict[str, list[Subscription]] = {}
    for each in subscriptions:
        by_pair.setdefault(each.pair, []).append(each)
    return list(by_pair.items())


class _Plan:
    """What one connection will follow; `changed` if that is not what it follows now."""

    def __init__(self, group: list[Subscription], *, changed: bool) -> None:
        self.group = group
        self.pairs = {each.pair for each in group}
        self.changed = changed

    def fits(self, pair: str, size: int, *, pairs: int, streams: int) -> bool:
        return len(self.pairs) + (pair not in self.pairs) <= pairs and len(self.group) + size <= streams

    def rank(self, pair: str) -> tuple[bool, bool]:
        """The lower, the better it suits a pair."""
        return pair not in self.pairs, not self.changed

    def add(self, pair: str, added: Sequence[Subscription]) -> None:
        self.group += added
        self.pairs.add(pair)
        self.changed = True
