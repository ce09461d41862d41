"""Where the program may call out to: addresses that everybody may reach, checked after their names are resolved.

A configuration, or a name server, could otherwise have us knock at what only this machine or its network reaches: a
metadata service, a router, a database (server-side request forgery). A name is resolved once, every address it has is
looked at, and the connection goes to the very addresses that were looked at: a name server that answers differently the
second time is not asked a second time.

https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry
https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from cryptostream.web.aside import aside

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as text. Raises OSError."""

_METADATA = frozenset(map(ip_address, ("169.254.169.254", "fd00:ec2::254")))
_TRANSLATED = IPv6Network("64:ff9b::/96")
"""An IPv4 address as a network without IPv4 reaches it: judged by that (RFC 6052)."""
_NEVER = (
    (IPv6Network("64:ff9b:1::/48"), "a translated"),
    (IPv6Network("2002::/16"), "a tunnelled"),
    (IPv6Network("2001::/32"), "a tunnelled"),
    (IPv6Network("2001::/23"), "a reserved"),
    (IPv6Network("3fff::/20"), "a private"),
    (IPv6Network("::/96"), "a reserved"),
    (IPv6Network("fec0::/10"), "a private"),
    (IPv4Network("192.88.99.0/24"), "a tunnelled"),
    (IPv4Network("192.0.0.0/24"), "a private"),
    (IPv4Network("100.64.0.0/10"), "a private"),
)
"""What the standard library does not refuse in every release of it, or with other words."""
_GLOBAL_UNICAST = IPv6Network("2000::/3")


class Forbidden(Exception):
    """A host that must not be called; says which of its addresses is what."""


async def addresses(
    host: str, port: int, *, allow_private: bool = False, resolve: Resolve | None = None
) -> Sequence[str]:
    """The addresses of a host, to connect to as they are. Raises Forbidden if any may not be called, and OSError."""
    found = list(dict.fromkeys(await (resolve or system)(host, port)))
    if not found:
        raise OSError(f"{host} has no address")
    for address in found:
        if not allow_private and (why := refusal(address)):
            raise Forbidden(f"{host} is {address}, {why} address")
    return found


async def system(host: str, port: int) -> Sequence[str]:
    """What this machine's resolver says."""
    told = await aside(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return [str(place[0]) for *_, place in told]


def refusal(text: str) -> str:
    """What is against calling an address; empty where nothing is.

    >>> refusal("127.0.0.1"), refusal("169.254.169.254"), refusal("93.184.215.14")
    ('a loopback', 'a metadata', '')
    >>> refusal("::ffff:10.0.0.1"), refusal("64:ff9b::10.0.0.1"), refusal("2606:4700::6810:84e5")
    ('a private', 'a private', '')
    """
    try:
        address = _bare(ip_address(text.partition("%")[0]))
    except ValueError:
        return "no"
    if address in _METADATA:
        return "a metadata"
    for flag in ("unspecified", "loopback", "link_local", "multicast"):
        if getattr(address, f"is_{flag}"):
            return f"a{'n' if flag[0] == 'u' else ''} {flag.replace('_', '-')}"
    for network, why in _NEVER:
        if address in network:
            return why
    if address.is_reserved:
        return "a reserved"
    if not address.is_global:
        return "a private"
    return "a reserved" if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST else ""


def is_loopback(text: str) -> bool:
    """Whether an address is this machine."""
    try:
        return _bare(ip_address(text)).is_loopback
    except ValueError:
        return False


def _bare(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for, else the address."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATED:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
