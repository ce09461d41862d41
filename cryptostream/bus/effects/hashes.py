"""Hashes that a consumer writes beside its streams: latest values, which go by themselves, and notes that stay. Pure.

They are written in the transaction of the work that made them. A command that fails there would let the others pass, so
what Redis could never take is refused before, and each key is looked at: is it a hash, or nothing yet? The keys are not
watched, for several groups may keep the latest values of a pair and would hinder each other: who makes one something
else between our look and our EXEC loses us a latest value, and nothing else.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import msgspec

from cryptostream.bus.effects.outputs import BadOutput
from cryptostream.bus.line import Command
from cryptostream.model.events import Latest

_LONGEST_S = 1e10
_TEXT = frozenset({str})
_BYTES = frozenset({str, bytes})


class Kept(msgspec.Struct, frozen=True):
    """A Redis hash that stays; its values may be bytes."""

    key: str
    fields: Mapping[str, str | bytes]


Hash = Latest | Kept


def check_hash(wanted: Hash) -> None:
    """Raise BadOutput for what Redis could never take, or would give back as something else.

    >>> check_hash(Latest("indicators:BTCUSDT", {"price": "5"}, ttl_s=3600))
    >>> check_hash(Latest("indicators:BTCUSDT", {"price": "5"}, ttl_s=0))
    Traceback (most recent call last):
    cryptostream.bus.effects.outputs.BadOutput: the hash indicators:BTCUSDT is to live 0 seconds
    """
    if type(wanted.key) is not str or not wanted.key:
        raise BadOutput(f"{wanted.key!r} is no key for a hash")
    if not wanted.fields:
        raise BadOutput(f"the hash {wanted.key} has no fields")
    if isinstance(wanted, Latest) and not 0 < wanted.ttl_s <= _LONGEST_S:
        raise BadOutput(f"the hash {wanted.key} is to live {wanted.ttl_s} seconds")
    values = _TEXT if isinstance(wanted, Latest) else _BYTES
    if not _TEXT.issuperset(map(type, wanted.fields)) or not values.issuperset(map(type, wanted.fields.values())):
        raise BadOutput(f"the hash {wanted.key} has a field that is not text")


def merged(wanted: Iterable[Hash]) -> dict[str, Hash]:
    """One hash for each key: of each field the newest value, and for how long as the newest of them says.

    >>> one, other = Latest("k", {"a": "1", "b": "2"}, 60), Latest("k", {"b": "3"}, 90)
    >>> merged([one, other])["k"]
    Latest(key='k', fields={'a': '1', 'b': '3'}, ttl_s=90)
    """
    found: dict[str, Hash] = {}
    for each in wanted:
        there = found.get(each.key)
        if there is not None and not there.fields.keys() <= each.fields.keys():
            each = msgspec.structs.replace(each, fields={**there.fields, **each.fields})
        found[each.key] = each
    return found


def writes(wanted: Iterable[Hash]) -> Iterator[Command]:
    """The commands that bring hashes up to date."""
    for each in wanted:
        yield ("HSET", each.key, *chain.from_iterable(each.fields.items()))
        if isinstance(each, Latest):
            yield ("PEXPIRE", each.key, max(1, round(each.ttl_s * 1000)))
