"""A configuration before it is checked: plain values that remember where they were written."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

from cryptostream.logs import mask

Path = tuple[str | int, ...]
_PLAIN_KEY = re.compile(r"[\w-]+")


class Origin(NamedTuple):
    """Where a value was written: a place in a file, or the name of what set it."""

    name: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}:{self.column}" if self.line else self.name


DEFAULT = Origin("default")
SET = Origin("--set")
FLAG = Origin("flag")


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a list of nodes, or a mapping of nodes; `keys` says where each key of a mapping stands."""

    value: Any = field(repr=False)  # it may be a secret
    origin: Origin
    keys: Mapping[str, Origin] = field(default_factory=dict)


class Problem(NamedTuple):
    """One mistake, told in one line."""

    origin: Origin
    path: str
    what: str

    def __str__(self) -> str:
        if not self.path:
            return f"{self.origin}: {self.what}"
        separator = " " if self.origin in (SET, FLAG) else ": "
        return f"{self.origin}{separator}{self.path}: {self.what}"


def empty(origin: Origin = DEFAULT) -> Node:
    """A mapping with nothing in it."""
    return Node({}, origin)


def node(value: Any, origin: Origin) -> Node:
    """Plain values as nodes that were all written in one place."""
    if isinstance(value, Mapping):
        return Node({key: node(inner, origin) for key, inner in value.items()}, origin, dict.fromkeys(value, origin))
    if isinstance(value, list | tuple):
        return Node([node(inner, origin) for inner in value], origin)
    return Node(value, origin)


def branch(names: Sequence[str], leaf: Node) -> Node:
    """A leaf inside the mappings its names stand for."""
    return reduce(lambda inner, name: Node({name: inner}, leaf.origin, {name: leaf.origin}), reversed(names), leaf)


def merge(below: Node, above: Node) -> Node:
    """What is above wins; mappings merge key by key, lists and scalars replace.

    A mapping above a scalar leaves the scalar: it cannot be right there, and the check is to say so.
    """
    if not isinstance(above.value, dict):
        return below if above.value is None and isinstance(below.value, dict) else above
    if not isinstance(below.value, dict):
        return above if below.value is None or isinstance(below.value, list) else below
    values = {**below.value, **above.value}
    for name in below.value.keys() & above.value.keys():
        values[name] = merge(below.value[name], above.value[name])
    return Node(values, above.origin, {**below.keys, **above.keys})


def plain(tree: Node) -> Any:
    """The values alone."""
    if isinstance(tree.value, dict):
        return {name: plain(inner) for name, inner in tree.value.items()}
    return [plain(inner) for inner in tree.value] if isinstance(tree.value, list) else tree.value


def below(tree: Node, name: str | int) -> Node | None:
    """The node under a key or a number, None where there is none."""
    if isinstance(tree.value, dict):
        found: Node | None = tree.value.get(str(name))
        return found
    there = isinstance(tree.value, list) and isinstance(name, int) and name < len(tree.value)
    return tree.value[name] if there else None


def get(tree: Node | None, *names: str) -> Node | None:
    """The node under these names, None where there is none."""
    for name in names:
        tree = below(tree, name) if tree is not None else None
    return tree


def parse_path(text: str) -> Path:
    """Read a path as people write it.

    >>> parse_path("feeds[0].binance.symbols.1")
    ('feeds', 0, 'binance', 'symbols', 1)
    """
    parts = re.sub(r"\[(\d+)\]", r".\1", text).split(".")
    return tuple(int(part) if part.isdecimal() else part for part in parts if part)


def shown(path: Path) -> str:
    """Write a path as people read it.

    >>> shown(("feeds", 0, "binance", "symbols", 1))
    'feeds[0].binance.symbols[1]'
    """
    parts = (f"[{part}]" if isinstance(part, int) else "." + _quoted(part) for part in path)
    return "".join(parts).removeprefix(".")


def _quoted(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else json.dumps(mask(key[:80]))
