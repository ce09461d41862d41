"""What a bus URL says, checked before anything connects, as the options redis-py makes connections with."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import UnixDomainSocketConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cryptostream.errors import ConfigError
from cryptostream.logs import mask
from cryptostream.registry import did_you_mean

COMMAND_TIMEOUT_S = 5.0
_SENTINEL_TIMEOUT_S = 1.0
"""Sentinels are asked one after the other: one that is silent must not hold up the rest for long."""
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_QUERY = (
    *_FILES,
    *("ssl_ca_path", "ssl_ca_data", "ssl_cert_reqs", "ssl_check_hostname", "ssl_ciphers", "ssl_password"),
    *("db", "username", "password", "client_name", "max_connections", "socket_keepalive"),
)
_OF_SENTINELS = {"sentinel_username": "username", "sentinel_password": "password"}
_NOT_OF_SENTINELS = ("db", "username", "password", "max_connections")
_KINDS = ("sentinel", "cluster")
_PORTS = {"sentinel": 26379, "cluster": 6379}
_NODE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\],]+)(?::(\d{1,5}))?")
_PASSWORD_HINT = "a password with any of / ? # @ in it has to be percent-encoded"  # noqa: S105 - it is a hint
_SENTINEL_HINT = "write redis+sentinel://h1:26379,h2:26379/<master-name>[/<database>]"
_CLUSTER_HINT = "write redis+cluster://h1:6379,h2:6379"


class Node(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Address(NamedTuple):
    """What a bus URL says. `options` are what connections to its servers are made with.

    One server: neither `nodes` nor `master`; its place is among the options. A cluster: `nodes` are those to ask first.
    Sentinels: `nodes` are they, `master` is what they call ours, `sentinel` makes connections to them.
    """

    options: dict[str, Any]
    nodes: tuple[Node, ...] = ()
    master: str = ""
    sentinel: Mapping[str, Any] = MappingProxyType({})


def parse(url: str) -> Address:
    """Read a bus URL. Raises ConfigError; no message quotes a part that may be secret.

    * `redis://[user:password@]host:port[/db]`, `rediss://` over TLS, `unix://[:password@]/path?db=`;
    * `redis+sentinel://[user:password@]h1:p1,h2:p2/<master-name>[/<db>]`: user and password are the servers'; those of
      the sentinels, where they have any, are `?sentinel_username=` and `?sentinel_password=`;
    * `redis+cluster://[user:password@]h1:p1,h2:p2`: some nodes of the cluster, from which the others are learnt;
    * `rediss+sentinel://` and `rediss+cluster://`: everything over TLS, as `rediss://` is to `redis://`.
    """
    scheme, _, rest = url.partition("://")
    plain, plus, kind = scheme.partition("+")
    if not plus or plain not in ("redis", "rediss") or kind not in _KINDS:
        return Address(_options(url, _shown(url)))
    found = re.fullmatch(r"([^/?#]*@)?([^/?#@]*)([^?#]*)(.*)", rest)
    nodes = _nodes(found[2], _PORTS[kind]) if found else ()
    if not found or not nodes:
        raise ConfigError(f"not a bus URL: {_shown(url)}", hint=_PASSWORD_HINT)
    of_one = f"{plain}://{found[1] or ''}{nodes[0]}{{}}{found[4]}"
    return (_cluster if kind == "cluster" else _sentinels)(_shown(url), nodes, found[3], of_one)


def _cluster(shown: str, nodes: tuple[Node, ...], path: str, of_one: str) -> Address:
    made = _without_place(_options(of_one.format(path), shown))
    if made.pop("db", 0):
        raise ConfigError(f"a cluster has no database but 0: {shown}", hint=_CLUSTER_HINT)
    return Address(made, nodes)


def _sentinels(shown: str, nodes: tuple[Node, ...], path: str, of_one: str) -> Address:
    named = re.fullmatch(r"/([^/@]+)(/\d*)?", path)
    if named is None:
        raise ConfigError(f"no name of a master at the end of {shown}", hint=_SENTINEL_HINT)
    made = _without_place(_options(of_one.format(named[2] or ""), shown, (*_QUERY, *_OF_SENTINELS)))
    login = {name: made.pop(option) for option, name in _OF_SENTINELS.items() if option in made}
    theirs = {name: value for name, value in made.items() if name not in _NOT_OF_SENTINELS} | login
    quick = {"socket_connect_timeout": _SENTINEL_TIMEOUT_S, "socket_timeout": _SENTINEL_TIMEOUT_S}
    return Address(made, nodes, named[1], theirs | quick)


def _nodes(text: str, port: int) -> tuple[Node, ...]:
    """The servers of a list; none where one of them cannot be read."""
    read = [_NODE.fullmatch(part) for part in text.split(",")]
    nodes = tuple(Node(found[1].strip("[]"), int(found[2] or port)) for found in read if found)
    return nodes if len(nodes) == len(read) else ()


def _without_place(made: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if name not in ("host", "port")}


def _options(url: str, shown: str, known: tuple[str, ...] = _QUERY) -> dict[str, Any]:
    """What connections to the one server of a URL are made with."""
    _check(url, shown, known)
    try:
        made: dict[str, Any] = {**parse_url(url)}
    except ValueError:
        raise ConfigError(f"not a bus URL: {shown}", hint=_PASSWORD_HINT) from None
    if made.get("connection_class") is UnixDomainSocketConnection:
        made["connection_class"] = _UnixConnection
    for name in _FILES:
        if name in made and not Path(made[name]).is_file():
            raise ConfigError(f"{name} of {shown}: there is no file {made[name]}")
    return made | _settings()


def _settings() -> dict[str, Any]:
    # redis-py's own ten retries would double an XADD whose reply was lost and hide an outage. Nothing is pushed in
    # RESP2, and without driver_info no CLIENT SETINFO is sent, which an ingester's least rights do not allow.
    return {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "socket_connect_timeout": COMMAND_TIMEOUT_S,
        "health_check_interval": 0,
        "driver_info": None,
    }


def _check(url: str, shown: str, known: tuple[str, ...]) -> None:
    """Refuse what redis-py would take without a word: an unknown option, a database that is not a number."""
    try:
        parts = urlsplit(url)
        unknown = [name for name in parse_qs(parts.query) if name not in known]
    except ValueError:
        raise ConfigError(f"not a bus URL: {shown}", hint=_PASSWORD_HINT) from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        schemes = "redis://, rediss://, unix://, redis+sentinel://, redis+cluster:// or embedded://"
        raise ConfigError(f"not a bus URL: {shown}", hint=f"it starts with {schemes}")
    if unknown:
        raise ConfigError(f'unknown option "{unknown[0]}" in {shown}', hint=did_you_mean(unknown[0], known))
    if (parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path)) or parts.fragment:
        raise ConfigError(f"not a database number at the end of {shown}", hint=_PASSWORD_HINT)


def _shown(url: str) -> str:
    """A URL that could not be read, as it may be printed: a password may stand anywhere before its last `@`."""
    scheme, separator, rest = mask(url).partition("://")
    _, userinfo, address = rest.rpartition("@")
    return f"{scheme}{separator}{'***@' if userinfo else ''}{address}"


class _UnixConnection(UnixDomainSocketConnection):
    """redis-py 8.1 greets twice on a unix socket, and buries the first answer in a ConnectionError: greet once."""

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            self._reader, self._writer = await asyncio.open_unix_connection(path=self.path)
