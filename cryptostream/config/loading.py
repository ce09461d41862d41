"""Every source of settings, merged and checked: flag > --set > CRYPTOSTREAM_A__B > plain names > files > defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic import Secret, SecretStr, ValidationError

from cryptostream.config import env as environment
from cryptostream.config import tree
from cryptostream.config.feeds import Discover
from cryptostream.config.files import read
from cryptostream.config.problems import problems as located
from cryptostream.config.schema import Config
from cryptostream.config.settings import is_secret
from cryptostream.config.tree import DEFAULT, FLAG, SET, Node, Origin, Problem
from cryptostream.engine.machine import data_home
from cryptostream.errors import ConfigError
from cryptostream.model.instrument import DEFAULT_VENUE

FOUND_BY_ITSELF = Path("cryptostream.yaml")


@dataclass(frozen=True)
class Loaded:
    """A checked configuration that remembers where each of its values was written."""

    config: Config
    files: tuple[Path, ...]
    written: Node = field(repr=False)

    def origin(self, path: str) -> str:
        """Where the value at a path comes from: `cryptostream.yaml:3:11`, `env REDIS_URL`, `--set`, `flag`, `default`.

        The path is spelled as in YAML: `bus.maxlen`, `feeds[0].binance.symbols`.
        """
        at = self.written
        for name in tree.parse_path(path):
            below = tree.below(at, name)
            if below is None:
                return str(DEFAULT if isinstance(at.value, dict) else at.origin)
            at = below
        return str(at.origin)

    def plain(self, *, reveal: bool = False) -> dict[str, Any]:
        """The settings as YAML has them, every default filled in; secrets masked unless `reveal`."""
        dumped: dict[str, Any] = _plain(self.config.model_dump(context={"reveal": reveal}), reveal)
        return dumped


def load(
    files: Sequence[Path] = (),
    *,
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> Loaded:
    """The configuration that all sources together make; `./cryptostream.yaml` is read where no file is named.

    `sets` are `a.b=c`; `flags` are values by dotted path. Raises ConfigError with every mistake, one a line, and
    NotFound for a file that is not there.
    """
    given = tuple(files) or tuple(path for path in (FOUND_BY_ITSELF,) if path.exists())
    found: list[Problem] = []
    written = _written(given, sets, flags or {}, env or {}, found)
    try:
        config = Config.model_validate(tree.plain(written))
    except ValidationError as error:
        found += located(error, written)
    if found:
        order = [str(path) for path in given]
        found.sort(key=lambda problem: _rank(problem.origin, order))
        raise ConfigError("\n".join(dict.fromkeys(map(str, found))))
    return Loaded(config, given, written)


def _rank(origin: Origin, files: Sequence[str]) -> tuple[int, int, int]:
    return (files.index(origin.name) if origin.name in files else len(files), origin.line, origin.column)


def _written(
    paths: Sequence[Path], sets: Sequence[str], flags: Mapping[str, Any], env: Mapping[str, str], found: list[Problem]
) -> Node:
    layers = [
        tree.node({"data_dir": data_home(env)}, DEFAULT),
        *(read(path, found) for path in paths),
        environment.plain_layer(env, found),
        environment.prefixed_layer(env, found),
        *(_set(text, found) for text in sets),
        *(tree.branch(path.split("."), tree.node(value, FLAG)) for path, value in flags.items()),
    ]
    return _inherited(reduce(tree.merge, layers))


def _set(text: str, found: list[Problem]) -> Node:
    path, equals, value = text.partition("=")
    names = tree.parse_path(path.strip())
    if not equals or not names:
        found.append(Problem(SET, path.strip(), "should be A.B=C, as in bus.maxlen=5000"))
        return tree.empty()
    if not all(isinstance(name, str) for name in names):
        found.append(Problem(SET, path.strip(), f"sets one item of a list; set the list: --set {names[0]}=[...]"))
        return tree.empty()
    if is_secret(names, SecretStr):
        why = "a secret on the command line can be read by every process; use the environment or a file"
        found.append(Problem(SET, path.strip(), why))
        return tree.empty()
    return tree.branch([str(name) for name in names], environment.leaf(value, SET, path.strip(), found))


def _inherited(written: Node) -> Node:
    """Feeds that name no pairs get those of `ingest.symbols`, and discoveries the size and quote of `discovery`."""
    symbols, feeds = tree.get(written, "ingest", "symbols"), tree.get(written, "feeds")
    if symbols is not None and symbols.value and (feeds is None or feeds.value in (None, [])):
        feeds = Node([tree.branch([DEFAULT_VENUE], Node({}, symbols.origin))], symbols.origin)
    if feeds is None or not isinstance(feeds.value, list):
        return written
    made = Node([_feed(feed, symbols, tree.get(written, "discovery")) for feed in feeds.value], feeds.origin)
    return tree.merge(
        written, Node({"feeds": made}, written.origin, {"feeds": written.keys.get("feeds", feeds.origin)})
    )


def _feed(feed: Node, symbols: Node | None, discovery: Node | None) -> Node:
    if not isinstance(feed.value, dict) or len(feed.value) != 1:
        return feed
    ((venue, settings),) = feed.value.items()
    discover = tree.get(settings, "discover")
    inherited: dict[str, Node] = {}
    if discover is not None and discover.value is not None:
        inherited["discover"] = _only(discovery, tuple(Discover.model_fields))
    elif symbols is not None and tree.get(settings, "symbols") is None:
        inherited["symbols"] = symbols
    return Node({venue: tree.merge(Node(inherited, settings.origin), settings)}, feed.origin, feed.keys)


def _only(section: Node | None, names: Sequence[str]) -> Node:
    """The named settings of a section, those of them that were written."""
    found = {name: value for name in names if (value := tree.get(section, name)) is not None}
    return Node(found, section.origin if section else DEFAULT)


def _plain(value: Any, reveal: bool) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner, reveal) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, reveal) for inner in value]
    if isinstance(value, Secret | SecretStr):
        return value.get_secret_value() if reveal else _masked(value)
    return str(value) if isinstance(value, Path) else value


def _masked(secret: Secret[Any] | SecretStr) -> str:
    return "***" if isinstance(secret, SecretStr) else str(secret)
