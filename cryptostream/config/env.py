"""The environment: `CRYPTOSTREAM_A__B` for every setting, plain names for those that other tools share.

An empty variable counts as not set. `NAME_FILE` names a file that holds the value of a secret, as Docker mounts them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import NamedTuple

from cryptostream.config import files, tree
from cryptostream.config.settings import env_name, is_secret, leaves
from cryptostream.config.tree import Node, Origin, Problem
from cryptostream.engine import secretfile
from cryptostream.registry import names

PREFIX = "CRYPTOSTREAM_"
MAX_SECRET_BYTES = 1 << 16

_KUBERNETES_LINK = "tcp://"


class Plain(NamedTuple):
    """A variable without our prefix; `read` turns its text into the text of the setting."""

    name: str
    path: str
    read: Callable[[str], str] = str


def _seconds(text: str) -> str:
    return f"{text}s" if text.isdecimal() else text


PLAIN_NAMES = (
    # Where two names set one thing, the later wins.
    Plain("REDIS_URL", "bus.url"),
    Plain("REDIS_STREAMS_MAXLEN", "bus.maxlen"),
    Plain("STREAM_MAXLEN", "bus.maxlen"),
    Plain("COINGECKO_URL", "discovery.url"),
    Plain("COINGECKO_API_KEY", "discovery.api_key"),
    Plain("COINGECKO_PRO_API_KEY", "discovery.pro_api_key"),
    Plain("PAIRS_LIMIT", "discovery.top"),
    Plain("FALLBACK_PAIRS", "discovery.fallback_pairs"),
    Plain("DISCOVERY_REFRESH_SEC", "discovery.refresh", _seconds),
    Plain("PAIRS_PER_CONNECTION", "feed.pairs_per_connection"),
    Plain("HEALTH_PORT", "ingest.health_port"),
    Plain("WATCHLIST_SYMBOLS", "ingest.symbols"),
)


def plain_names() -> tuple[Plain, ...]:
    """The plain names, with `<VENUE>_WS_URL` and `<VENUE>_REST_URL` of every venue there is."""
    venues = [
        Plain(f"{venue.upper()}_{which.upper()}", f"venues.{venue}.{which}")
        for venue in names("venues")
        for which in ("ws_url", "rest_url")
    ]
    return (*PLAIN_NAMES, *venues)


def plain_layer(env: Mapping[str, str], problems: list[Problem]) -> Node:
    """What the plain names set."""
    branches = [*_redis_host(env, problems)]
    for name, path, read in plain_names():
        found = _value(env, name, path, problems)
        if found is not None:
            branches.append(tree.branch(path.split("."), leaf(read(found[1]), found[0], path, problems)))
    return reduce(tree.merge, branches, tree.empty())


def _redis_host(env: Mapping[str, str], problems: list[Problem]) -> Iterator[Node]:
    """REDIS_HOST and REDIS_PORT, either alone as well."""
    host, port = env.get("REDIS_HOST", ""), env.get("REDIS_PORT", "")
    if port.startswith(_KUBERNETES_LINK):  # set by Kubernetes beside every service called redis, and not for us
        port = ""
    if not host and not port:
        return
    if port and not (port.isdecimal() and port.isascii() and int(port) <= 65_535):
        problems.append(Problem(Origin("env REDIS_PORT"), "bus.url", "should be the number of a port"))
        return
    if not re.fullmatch(r"[\w.:\-]*", host):
        problems.append(Problem(Origin("env REDIS_HOST"), "bus.url", "should be a name or an address"))
        return
    address = f"[{host}]" if ":" in host else host or "127.0.0.1"
    url = f"redis://{address}:{port or 6379}"
    yield tree.branch(["bus", "url"], Node(url, Origin("env REDIS_HOST" if host else "env REDIS_PORT")))


def prefixed_layer(env: Mapping[str, str], problems: list[Problem]) -> Node:
    """What `CRYPTOSTREAM_A__B` set; a name that is no setting's is left for the check to find."""
    files_of = {f"{env_name(path)}_FILE" for path, _ in leaves() if is_secret(tree.parse_path(path))}
    variables = {name.removesuffix("_FILE") if name in files_of else name for name in env if name.startswith(PREFIX)}
    branches = []
    for name in sorted(variables):
        path = name.removeprefix(PREFIX).lower().split("__")
        found = _value(env, name, ".".join(path), problems)
        if found is not None:
            branches.append(tree.branch(path, leaf(found[1], found[0], ".".join(path), problems)))
    return reduce(tree.merge, branches, tree.empty())


def _value(env: Mapping[str, str], name: str, path: str, problems: list[Problem]) -> tuple[Origin, str] | None:
    """A variable's text, or that of the file it names; None where neither is set."""
    text, origin = env.get(name, ""), Origin(f"env {name}")
    file = env.get(f"{name}_FILE", "") if is_secret(tree.parse_path(path)) else ""
    if not file:
        return (origin, text) if text else None
    origin = Origin(f"env {name}_FILE")
    if text:
        problems.append(Problem(origin, path, f"{name} is set too; use one of them"))
        return None
    secret = _secret(Path(file), origin, path, problems)
    return (origin, secret) if secret else None


def _secret(file: Path, origin: Origin, path: str, problems: list[Problem]) -> str:
    try:
        return secretfile.content(file, most=MAX_SECRET_BYTES, what="a secret")
    except ValueError as error:
        problems.append(Problem(origin, path, f"the file {error}"))
        return ""


def leaf(text: str, origin: Origin, path: str, problems: list[Problem]) -> Node:
    """The value of a text from outside: YAML in `[...]` and `{...}`, else, and for a secret, the text as it is."""
    if (text[:1], text[-1:]) not in (("[", "]"), ("{", "}")) or is_secret(tree.parse_path(path)):
        return Node(text, origin)
    found: list[Problem] = []
    made = files.parse(text, lambda _: origin, found)
    problems += [problem._replace(path=path) for problem in found]
    return made or Node(None, origin)
