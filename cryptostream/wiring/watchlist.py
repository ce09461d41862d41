"""Which pairs are followed, from what is configured and what was wished for beside it; pure.

A wish is one field of `control:watchlist`: `<exchange>:<pair>` to `+` or `-`, and `*` to `-` where nothing is to be
followed but what has a `+`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from cryptostream.errors import UsageError
from cryptostream.model.instrument import Pair, parse_pair

ALL = "*"
ADDED, REMOVED = "+", "-"
MOST_NAMED = 500
"""How many symbols one request may name in each of its lists."""

Wishes = Mapping[str, str]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request for the watchlist wants; `replace` and `reset` stand alone."""

    add: list[str] = []
    remove: list[str] = []
    replace: list[str] | None = None
    reset: bool = False


def asked(args: Mapping[str, object]) -> Asked:
    """The words of a request. Raises UsageError for what cannot be meant."""
    try:
        wanted = msgspec.convert(dict(args), Asked)
    except msgspec.ValidationError as error:
        raise UsageError(f"not a wish for the watchlist: {error}") from error
    ways = [bool(wanted.add or wanted.remove), wanted.replace is not None, wanted.reset]
    if sum(ways) != 1:
        raise UsageError("say one of: what to add and to remove, what to follow instead, or reset")
    if max(len(each) for each in (wanted.add, wanted.remove, wanted.replace or ())) > MOST_NAMED:
        raise UsageError(f"more than {MOST_NAMED} symbols at once")
    if both := set(named(wanted.add)[0]) & set(named(wanted.remove)[0]):
        raise UsageError(f"{min(both)} is to be added and removed")
    return wanted


def named(words: Sequence[str]) -> tuple[list[Pair], dict[str, str]]:
    """The pairs that words name, each once, and why other words name none.

    >>> [str(pair) for pair in named(["btcusdt", "kraken:BTCUSD", "BTCUSDT"])[0]]
    ['BTCUSDT', 'kraken:BTCUSD']
    """
    found: dict[Pair, None] = {}
    unlike: dict[str, str] = {}
    for word in words:
        try:
            found[parse_pair(word.strip())] = None
        except UsageError as error:
            unlike[word[:40]] = f"{error}; {error.hint}"
    return list(found), unlike


def pairs(base: Sequence[str], exchange: str, wishes: Wishes, others: Iterable[str], *, adopts: bool) -> list[str]:
    """What a feed follows: of its own `base` what nobody removed, and if it `adopts`, what was added and is nobody's.

    `others` are the pairs that are some feed's own.

    >>> wishes = {"binance:A": "-", "binance:C": "+", "binance:D": "+"}
    >>> pairs(["A", "B"], "binance", wishes, {"A", "B", "D"}, adopts=True)
    ['B', 'C']
    >>> pairs(["A", "B"], "binance", {"*": "-", "binance:B": "+"}, {"A", "B"}, adopts=True)
    ['B']
    """
    unsaid = wishes.get(ALL, ADDED)
    kept = [pair for pair in base if wishes.get(Pair(exchange, pair).key, unsaid) == ADDED]
    taken = set(others)
    return kept + [one for one in added(exchange, wishes) if one not in taken] if adopts else kept


def added(exchange: str, wishes: Wishes) -> Iterator[str]:
    """The pairs of an exchange that were wished for."""
    for key, sign in wishes.items():
        pair = Pair.of_key(key)
        if sign == ADDED and pair.exchange == exchange:
            yield pair.name


def changes(before: Wishes, after: Wishes) -> dict[str, str | None]:
    """What is to be written so that what was wished becomes what is; None for what goes.

    >>> changes({"a": "+", "b": "+"}, {"b": "-"})
    {'a': None, 'b': '-'}
    """
    gone = {key: None for key in before if key not in after}
    return {**gone, **{key: sign for key, sign in after.items() if before.get(key) != sign}}
