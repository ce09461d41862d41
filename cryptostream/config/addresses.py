"""Addresses: of the bus, whose secrets never print, and of venues, which are encrypted unless they are this machine."""

from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Secret

from cryptostream.config.words import alternatives, got, wrong
from cryptostream.logs import mask

BUS_SCHEMES = (
    *("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
    "embedded",
)


class SecretUrl(Secret[str]):
    """An address that prints without what may be secret in it; `get_secret_value()` is the whole."""

    def _display(self) -> str:
        return masked_url(self.get_secret_value())


def masked_url(url: str) -> str:
    """An address as it may be printed: a password may hold anything, so all before the last `@` goes.

    >>> masked_url("redis://user:p/w@d@host:6379/0"), masked_url("unix:///run/r.sock?password=x")
    ('redis://***@host:6379/0', 'unix:///run/r.sock?password=***')
    """
    scheme, separator, rest = mask(url).partition("://")
    _, at, address = rest.rpartition("@")
    return f"{scheme}{separator}{'***@' if at else ''}{address}"


def _bus_url(value: Any) -> Any:
    """No message quotes the address: it may hold a password anywhere."""
    if isinstance(value, SecretUrl):
        return value
    if not isinstance(value, str):
        raise wrong("should be an address as in redis://host:6379")
    scheme, separator, _ = value.partition("://")
    if not separator or scheme not in BUS_SCHEMES:
        raise wrong(f"should start with {alternatives(tuple(f'{known}://' for known in BUS_SCHEMES))}")
    try:
        for server in urlsplit(value).netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{server}").port
    except ValueError:
        raise wrong("not an address; a password with any of / ? # @ in it has to be percent-encoded") from None
    return value


def _secure(scheme: str) -> BeforeValidator:
    """An address whose scheme is the secure one, or on this machine the plain one."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise wrong(f"should be an address as in {scheme}://host, got {got(value)}")
        _check_url(value, scheme)
        return value

    return BeforeValidator(check)


def _check_url(text: str, secure: str) -> None:
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError:
        raise wrong("not an address") from None
    if not text.isprintable() or " " in text or url.scheme not in (secure, secure[:-1]) or not host:
        raise wrong(f"should be an address as in {secure}://host")
    if url.username is not None or url.query or url.fragment:
        raise wrong("should be an address without user, query or fragment")
    if url.scheme != secure and not _is_loopback(host):
        raise wrong(f"should start with {secure}://; {url.scheme}:// is for 127.0.0.1 and localhost only")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


BusUrl = Annotated[SecretUrl, BeforeValidator(_bus_url)]
WsUrl = Annotated[str, _secure("wss")]
HttpUrl = Annotated[str, _secure("https")]
