"""What pydantic found wrong, told in one line each: where it is written, which setting, what it should be."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cryptostream.config import tree
from cryptostream.config.settings import env_names, section_at
from cryptostream.config.tree import Node, Origin, Path, Problem
from cryptostream.config.words import got, suggestion

_KINDS = {
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping of settings",
    "model_type": "a mapping of settings",
    "mapping_type": "a mapping of settings",
    "path_type": "a path",
}
_FIND_FEED = 2
"""How much of a path leads to one feed: `feeds` and its number."""


def problems(error: ValidationError, written: Node) -> list[Problem]:
    """Each mistake with its place in what was written. No value of a secret is ever told."""
    return [_problem(found, written) for found in error.errors(include_url=False)]


def _problem(found: ErrorDetails, written: Node) -> Problem:
    path: Path = found["loc"]
    at_key = found["type"] == "extra_forbidden" or path[-1:] in (("[key]",), ("venue",))
    path = as_written(written, path[:-1] if path[-1:] == ("[key]",) else path)
    origin = origin_of(written, path, key=at_key)
    return Problem(origin, tree.shown(path), _what(found, origin))


def as_written(written: Node, path: Path) -> Path:
    """A path of the schema as it is spelled: a feed's settings stand below the name of its venue."""
    feed = written
    for name in path[:_FIND_FEED]:
        feed = tree.below(feed, name) or feed
    wrapped = isinstance(feed.value, dict) and len(feed.value) == 1 and "venue" not in feed.value
    if path[:1] != ("feeds",) or len(path) <= _FIND_FEED or not wrapped:
        return path
    rest = () if path[_FIND_FEED:] == ("venue",) else path[_FIND_FEED:]
    return (*path[:_FIND_FEED], *feed.value, *rest)


def origin_of(written: Node, path: Path, *, key: bool = False) -> Origin:
    """Where a path was written, or what is nearest around it; with `key`, where its key stands and not its value."""
    at, around = written, written
    for name in path:
        below = tree.below(at, name)
        if below is None:
            return at.keys.get(str(name), at.origin)
        at, around = below, at
    return around.keys.get(str(path[-1]), at.origin) if key and path else at.origin


def _what(found: ErrorDetails, origin: Origin) -> str:
    kind, words, value = found["type"], found.get("ctx", {}), found["input"]
    if kind == "told":
        return str(words["what"])
    if kind == "extra_forbidden":
        return _unknown_key(found["loc"], origin)
    if kind == "missing":
        return "is missing"
    if kind in _KINDS:
        return f"should be {_KINDS[kind]}, got {_kind_of(value)}"
    if kind == "literal_error":
        return f"should be {words['expected']}, got {got(value)}{_meant(value, words)}"
    return _limit(kind, words, value) or found["msg"].replace("Input should", "should")


def _limit(kind: str, words: Mapping[str, Any], value: Any) -> str:
    if kind == "greater_than_equal":
        return f"should be at least {words['ge']:,}, got {got(value)}"
    if kind == "less_than_equal":
        return f"should be at most {words['le']:,}, got {got(value)}"
    if kind in ("too_short", "string_too_short"):
        fewest, of = words["min_length"], "characters" if isinstance(value, str) else "items"
        return f"should have at least {fewest:,} {of}" if fewest > 1 else "should not be empty"
    return f"should have at most {words['max_length']:,} items" if kind == "too_long" else ""


def _meant(value: Any, words: Mapping[str, Any]) -> str:
    known = str(words["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
    meant = suggestion(value, known) if isinstance(value, str) else ""
    return f"; {meant}" if meant else ""


def _kind_of(value: Any) -> str:
    """What a value is, without its content: where a mapping is wanted, text may be an address with a password."""
    if isinstance(value, str):
        return "text"
    return "a number" if isinstance(value, int | float) and not isinstance(value, bool) else got(value)


def _unknown_key(path: Path, origin: Origin) -> str:
    section = section_at(path[:-1])
    fields = section.model_fields.items() if section else ()
    known = [field.alias or name for name, field in fields if name != "venue"]
    if origin.name.startswith("env "):
        meant = suggestion(origin.name.removeprefix("env "), env_names())
    else:
        meant = suggestion(str(path[-1]), known)
    return f"unknown setting; {meant or 'known: ' + ', '.join(known)}"
