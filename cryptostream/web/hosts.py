"""Whether a request was meant for us: the Host header of one that a page's own name was made to point here is not."""

import re

from cryptostream.web.health import is_any, is_loopback

_HOST = re.compile(r"(?:\[(?P<six>[\da-f:.]+)\]|(?P<name>[^\s\[\]:/?#@]+))(?::\d{1,5})?", re.ASCII)


def is_ours(told: str, host: str) -> bool:
    """Whether a Host header names this machine, or the host that was configured.

    Where all addresses are listened to, any name may be one of this machine's: it takes a token there, which no page of
    the web has.

    >>> is_ours("localhost:8000", "127.0.0.1"), is_ours("evil.example", "127.0.0.1"), is_ours("me.lan:8000", "0.0.0.0")
    (True, False, True)
    """
    name = name_of(told)
    return bool(name) and (is_loopback(name) or name == host.lower() or is_any(host))


def name_of(host: str) -> str:
    """The name or address in a Host header, without its port; empty where it is none.

    >>> name_of("LocalHost:8099"), name_of("127.0.0.1"), name_of("[::1]:8099"), name_of("[::1].evil.example")
    ('localhost', '127.0.0.1', '::1', '')
    """
    found = _HOST.fullmatch(host.lower())
    return (found["six"] or found["name"]) if found else ""


def is_of(origin: str, host: str) -> bool:
    """Whether an Origin header is the one that a page of this Host has; schemes may differ behind a proxy.

    >>> is_of("http://127.0.0.1:8000", "127.0.0.1:8000"), is_of("null", "127.0.0.1"), is_of("https://a.b", "a.b:8000")
    (True, False, False)
    """
    scheme, colon, place = origin.partition("://")
    return bool(colon) and scheme in ("http", "https") and place.lower() == host.lower()
