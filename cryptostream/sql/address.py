"""Where PostgreSQL is: from the environment or a file it names, a URL in YAML only without a password.

libpq's own words about an address that it cannot read quote parts of it, a password among them, and are never shown.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cryptostream.engine import secretfile
from cryptostream.errors import ConfigError

_SECRETS = ("password", "sslpassword")
_MAX_BYTES = 1 << 16
_HOST = r"(?:\[[0-9A-Fa-f:.]*\]|[^@/?#:,\[\]]*)(?::\d{1,5})?"
# Stricter than libpq, which takes a part of a password for a host or a port where it holds a / ? # or @ as it is.
_URL = re.compile(rf"postgres(?:ql)?://(?:[^@/?#]*@)?{_HOST}(?:,{_HOST})*(?:/[^@?#]*)?(?:\?[^@#]*)?")
_WORDS = re.compile(r"\s*\w+\s*=.*", re.DOTALL)
_HINT = "postgresql://user:password@host:5432/database; in a password, percent-encode / ? # @ and %, as in %40 for @"
_UNLESS_TOLD = {
    "application_name": "cryptostream",
    # A server that fell silent is noticed within half a minute. In seconds; the last in milliseconds.
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


class Address(NamedTuple):
    """What libpq connects with, and the same as it may be shown."""

    conninfo: str
    shown: str

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def address(url: str | None, url_env: str | None, env: Mapping[str, str]) -> Address:
    """Read the address. `url` holds no password; `url_env` names a variable that holds it all, or with `_FILE` behind
    its name a file that does. What neither says, libpq takes from PGHOST, PGPASSWORD, ~/.pgpass and its like.

    Raises ConfigError; no message quotes a part that may be secret.
    """
    if (url is None) == (url_env is None):
        raise ConfigError(
            "postgres wants either url_env, the name of a variable that holds its address, or url, without a password",
            hint="postgres: {url_env: DATABASE_URL}",
        )
    if url is not None:
        options = _options(url, "postgres: url")
        if any(secret in options for secret in _SECRETS):
            raise ConfigError("postgres: url holds a password", hint="put it into a variable and name that: url_env")
    else:
        options = _options(*_from_env(url_env, env))
    return Address(_conninfo(_UNLESS_TOLD | options), _shown(options))


def _from_env(name: object, env: Mapping[str, str]) -> tuple[str, str]:
    """The address and where it stands; an empty variable counts as not set."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w{0,127}", name, re.ASCII):
        raise ConfigError("postgres: url_env should be the name of a variable", hint="url_env: DATABASE_URL")
    text, file = env.get(name, ""), env.get(f"{name}_FILE", "")
    if text and file:
        raise ConfigError(f"env {name} and env {name}_FILE are both set; use one of them")
    if not text and not file:
        raise ConfigError(f"env {name} is not set", hint=f"export {name}=postgresql://user:password@host:5432/database")
    return (text, f"env {name}") if text else (_content(Path(file), f"env {name}_FILE"), f"env {name}_FILE")


def _content(file: Path, origin: str) -> str:
    try:
        return secretfile.content(file, most=_MAX_BYTES, what="an address")
    except ValueError as error:
        raise ConfigError(f"{origin}: the file {error}") from error


def _options(text: object, origin: str) -> dict[str, str]:
    from psycopg import Error, conninfo

    if isinstance(text, str) and (_URL.fullmatch(text) or (_WORDS.fullmatch(text) and "://" not in text)):
        try:
            return {name: str(value) for name, value in conninfo.conninfo_to_dict(text).items()}
        except Error:
            pass  # its words quote the address
    raise ConfigError(f"{origin} is not the address of a PostgreSQL database", hint=_HINT)


def _conninfo(options: dict[str, str]) -> str:
    from psycopg import conninfo

    return conninfo.make_conninfo("", **options)


def _shown(options: Mapping[str, str]) -> str:
    host, port = options.get("host") or options.get("hostaddr", ""), options.get("port", "")
    return f"postgresql://{host}{':' if port else ''}{port}/{options.get('dbname', '')}"
