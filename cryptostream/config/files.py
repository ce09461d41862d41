"""YAML in, nodes with their places out: no code in it can run, none of it can grow, each mistake has its line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cryptostream.config import tree
from cryptostream.config.tree import Node, Origin, Problem
from cryptostream.errors import NotFound

MAX_BYTES = 1 << 20
MAX_VALUES = 50_000
"""Values in one file, counted after its aliases are expanded."""
MAX_DEPTH = 20

_PAIR_LISTS = ("symbols", "fallback_pairs")
_TAG = "tag:yaml.org,2002:"
_QUOTED = re.compile(r" '(?!<)[^']{2,}'")
_TAGS = ("map", "seq", "str", "int", "float", "bool", "null")
_SCALARS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("bool", re.compile(r"true|false"), "tf"),
    ("null", re.compile(r"~|null|"), "~n"),
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})"), "-+0123456789"),
    (
        "float",
        re.compile(r"[-+]?[0-9]{1,18}(?:\.[0-9]{0,18}(?:[eE][-+]?[0-9]{1,3})?|[eE][-+]?[0-9]{1,3})"),
        "-+0123456789",
    ),
)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's words for scalars, so that `NO` and `ON` are symbols and `12:30:00` is not a number.

    It is the loader in Python, not the one in C, which names the same mistakes at other places.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own way


for _name, _pattern, _first in _SCALARS:
    whole = re.compile(rf"(?:{_pattern.pattern})\Z")
    _Loader.add_implicit_resolver(_TAG + _name, whole, [*_first, ""] if _name == "null" else list(_first))


def read(path: Path, problems: list[Problem]) -> Node:
    """The mapping in a file, empty where there is none; what is wrong is added to `problems`.

    `@file` in a list of pairs is taken to lie beside the file it is named in. Raises NotFound where there is no file.
    """
    text = _text(path, problems)
    if text is None:
        return tree.empty()
    top = parse(text, lambda mark: Origin(str(path), mark.line + 1, mark.column + 1), problems)
    if top is None or top.value is None:
        return tree.empty()
    if not isinstance(top.value, dict):
        problems.append(Problem(top.origin, "", "should be a mapping of settings, as in bus: {url: redis://...}"))
        return tree.empty()
    return _beside(top, path.parent)


def _text(path: Path, problems: list[Problem]) -> str | None:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"no such file: {path}") from error
    except OSError as error:
        problems.append(Problem(Origin(str(path)), "", f"cannot be read: {error.strerror}"))
        return None
    if len(content) > MAX_BYTES:
        problems.append(Problem(Origin(str(path)), "", f"larger than {MAX_BYTES >> 20} MiB, which no configuration is"))
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(content[: error.start].decode("utf-8", "replace"))
        problems.append(Problem(Origin(str(path), line, column), "", "not UTF-8"))
        return None


def parse(text: str, origin: Callable[[yaml.Mark], Origin], problems: list[Problem]) -> Node | None:
    """The nodes of one YAML document, None where it is empty or cannot be read; `origin` names a place in it."""
    start = _mark(0, 0)
    loader = None
    try:
        loader = _Loader(text)
        composed = loader.get_single_node()
        return None if composed is None else _Nodes(loader, origin, problems).node(composed, 0)
    except yaml.MarkedYAMLError as error:
        problems.append(Problem(origin(error.problem_mark or error.context_mark or start), "", _words(error)))
    except yaml.reader.ReaderError as error:
        line, column = _place(text[: error.position])
        mark = _mark(line - 1, column - 1)
        problems.append(Problem(origin(mark), "", f"character U+{error.character:04X} is not allowed"))
    except RecursionError:
        mark = loader.get_mark() if loader is not None else start
        problems.append(Problem(origin(mark), "", "nested too deeply"))
    return None


def _mark(line: int, column: int) -> yaml.Mark:
    return yaml.Mark("", 0, line, column, None, 0)


def _words(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's two half sentences as one line, without the words of the file: an unquoted secret may be among them."""
    words = (error.problem or "cannot be read") + (f" ({error.context})" if error.context else "")
    return "not YAML: " + _QUOTED.sub("", words).replace("'<stream end>'", "the end of the file")


def _place(before: str) -> tuple[int, int]:
    """Line and column, from 1, of what comes after a text."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


class _Nodes:
    """Turns PyYAML's nodes into ours, aliases expanded."""

    def __init__(self, loader: yaml.SafeLoader, origin: Callable[[yaml.Mark], Origin], problems: list[Problem]) -> None:
        self._loader = loader
        self._origin = origin
        self._problems = problems
        self._left = MAX_VALUES

    def node(self, found: yaml.Node, depth: int) -> Node:
        """One value and all in it. Raises yaml.MarkedYAMLError for a document too large or nested too deeply."""
        self._left -= 1
        if self._left < 0:
            raise yaml.MarkedYAMLError(
                None, None, f"more than {MAX_VALUES:,} values, aliases expanded", found.start_mark
            )
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(None, None, f"nested deeper than {MAX_DEPTH} levels", found.start_mark)
        if found.tag.removeprefix(_TAG) not in _TAGS:
            raise yaml.MarkedYAMLError(None, None, "a tag is not allowed here", found.start_mark)
        if isinstance(found, yaml.MappingNode):
            return self._mapping(found, depth)
        if isinstance(found, yaml.SequenceNode):
            return Node([self.node(item, depth + 1) for item in found.value], self._origin(found.start_mark))
        return Node(self._scalar(found), self._origin(found.start_mark))

    def _scalar(self, found: yaml.Node) -> Any:
        try:
            return self._loader.construct_object(found)
        except (ValueError, KeyError):
            raise yaml.MarkedYAMLError(None, None, "not a value of its tag", found.start_mark) from None

    def _mapping(self, found: yaml.MappingNode, depth: int) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Origin] = {}
        for key_node, value_node in found.value:
            key, place = key_node.value, self._origin(key_node.start_mark)
            if key_node.tag != _TAG + "str":
                self._problems.append(Problem(place, "", "a key should be text; put it in quotes"))
            elif key in keys:
                what = f"the key {tree.shown((key,))} is here a second time, first at line {keys[key].line}"
                self._problems.append(Problem(place, "", what))
            else:
                keys[key], values[key] = place, self.node(value_node, depth + 1)
        return Node(values, self._origin(found.start_mark), keys)


def _beside(found: Node, folder: Path, name: str = "") -> Node:
    """The same nodes with `@file` in lists of pairs made relative to the folder."""
    if isinstance(found.value, dict):
        inner = {key: _beside(value, folder, key) for key, value in found.value.items()}
        return Node(inner, found.origin, found.keys)
    if isinstance(found.value, list):
        return Node([_beside(value, folder, name) for value in found.value], found.origin)
    if name in _PAIR_LISTS and isinstance(found.value, str) and found.value.startswith("@"):
        return Node(f"@{folder / found.value[1:]}", found.origin)
    return found
