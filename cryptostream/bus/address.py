"""What a bus URL says, checked before anything connects, as the options redis-py makes connections with."""

import asyncio
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import UnixDomainSocketConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cryptostream.errors import ConfigError
from cryptostream.logs import mask
from cryptostream.registry import did_you_mean

COMMAND_TIMEOUT_S = 5.0
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_QUERY = (
    *_FILES,
    *("ssl_ca_path", "ssl_ca_data", "ssl_cert_reqs", "ssl_check_hostname", "ssl_ciphers", "ssl_password"),
    *("db", "username", "password", "client_name", "max_connections", "socket_keepalive"),
)
_PASSWORD_HINT = "a password with any of / ? # @ in it has to be percent-encoded"  # noqa: S105 - it is a hint


def options(url: str) -> dict[str, Any]:
    """What redis-py's connections are made with. Raises ConfigError; no message quotes a part that may be secret."""
    _check(url)
    try:
        made: dict[str, Any] = {**parse_url(url)}
    except ValueError:
        raise ConfigError(f"not a bus URL: {_shown(url)}", hint=_PASSWORD_HINT) from None
    if made.get("connection_class") is UnixDomainSocketConnection:
        made["connection_class"] = _UnixConnection
    for name in _FILES:
        if name in made and not Path(made[name]).is_file():
            raise ConfigError(f"{name} of {_shown(url)}: there is no file {made[name]}")
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


def _check(url: str) -> None:
    """Refuse what redis-py would take without a word: an unknown option, a database that is not a number."""
    try:
        parts = urlsplit(url)
        unknown = [name for name in parse_qs(parts.query) if name not in _QUERY]
    except ValueError:
        raise ConfigError(f"not a bus URL: {_shown(url)}", hint=_PASSWORD_HINT) from None
    if parts.scheme.endswith(("+sentinel", "+cluster")):
        raise ConfigError(f"{parts.scheme}:// is not supported yet", hint="name a single server: redis://host:6379")
    if parts.scheme not in ("redis", "rediss", "unix"):
        known = "redis://, rediss://, unix:// or embedded://"
        raise ConfigError(f"not a bus URL: {_shown(url)}", hint=f"it starts with {known}")
    if unknown:
        raise ConfigError(f'unknown option "{unknown[0]}" in {_shown(url)}', hint=did_you_mean(unknown[0], _QUERY))
    if (parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path)) or parts.fragment:
        raise ConfigError(f"not a database number at the end of {_shown(url)}", hint=_PASSWORD_HINT)


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
