"""Where the program may call out to: every range that is not everybody's is refused, after the name is resolved."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from cryptostream.web.aside import aside
from cryptostream.web.egress import Forbidden, addresses, refusal

REFUSED = {
    "0.0.0.0": "an unspecified",
    "0.1.2.3": "a private",
    "10.0.0.1": "a private",
    "100.64.0.1": "a private",
    "127.0.0.1": "a loopback",
    "127.255.255.254": "a loopback",
    "169.254.1.1": "a link-local",
    "169.254.169.254": "a metadata",
    "172.16.0.1": "a private",
    "172.31.255.255": "a private",
    "192.0.0.8": "a private",
    "192.0.2.1": "a private",
    "192.88.99.1": "a tunnelled",
    "192.168.1.1": "a private",
    "198.18.0.1": "a private",
    "198.51.100.1": "a private",
    "203.0.113.1": "a private",
    "224.0.0.1": "a multicast",
    "239.255.255.250": "a multicast",
    "240.0.0.1": "a reserved",
    "255.255.255.255": "a reserved",
    "::": "an unspecified",
    "::1": "a loopback",
    "::7f00:1": "a reserved",
    "::ffff:127.0.0.1": "a loopback",
    "::ffff:10.1.2.3": "a private",
    "::ffff:169.254.169.254": "a metadata",
    "64:ff9b::169.254.169.254": "a metadata",
    "64:ff9b::192.168.0.1": "a private",
    "64:ff9b:1::1": "a translated",
    "100::1": "a reserved",
    "2001:0:1::1": "a tunnelled",
    "2001:20::1": "a reserved",
    "2001:db8::1": "a private",
    "3fff::1": "a private",
    "5f00::1": "a reserved",
    "2002:7f00:1::": "a tunnelled",
    "fc00::1": "a private",
    "fd00:ec2::254": "a metadata",
    "fd12:3456::1": "a private",
    "fe80::1": "a link-local",
    "fe80::1%eth0": "a link-local",
    "fec0::1": "a private",
    "ff02::1": "a multicast",
    "ff0e::1": "a multicast",
    "elsewhere": "no",
}
PUBLIC = ["1.1.1.1", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2606:4700::6810:84e5", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize(("address", "why"), REFUSED.items())
async def test_an_address_that_is_not_everybodys_is_refused(address: str, why: str) -> None:
    assert refusal(address) == why

    async def resolve(host: str, port: int) -> Sequence[str]:
        return [address]

    with pytest.raises(Forbidden, match=f"hook.test is .*, {why} address"):
        await addresses("hook.test", 443, resolve=resolve)
    assert await addresses("hook.test", 443, allow_private=True, resolve=resolve) == [address]


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_that_everybody_may_reach_is_not(address: str) -> None:
    assert refusal(address) == ""


def test_the_edges_of_the_ranges() -> None:
    for first, last in (
        ("10.0.0.0", "10.255.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("224.0.0.0", "239.255.255.255"),
    ):
        before, after = ip_address(int(ip_address(first)) - 1), ip_address(int(ip_address(last)) + 1)
        assert [bool(refusal(str(each))) for each in (first, last)] == [True, True]
        assert refusal(str(before)) == ""
        assert refusal(str(after)) == ("a reserved" if last.startswith("239") else "")


async def test_one_bad_address_among_good_ones_is_enough() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["93.184.215.14", "10.0.0.1"]

    with pytest.raises(Forbidden, match=r"10\.0\.0\.1"):
        await addresses("hook.test", 443, resolve=resolve)


async def test_a_name_without_addresses_is_an_error_of_the_resolver() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return []

    with pytest.raises(OSError, match="has no address"):
        await addresses("hook.test", 443, resolve=resolve)


@pytest.mark.parametrize("text", ["127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433"])
async def test_other_spellings_of_loopback_are_loopback_once_resolved(text: str) -> None:
    with pytest.raises(Forbidden, match="a loopback address"):
        await addresses(text, 443)


async def test_a_call_that_blocks_is_not_waited_for() -> None:
    released = asyncio.Event()
    loop = asyncio.get_running_loop()
    with pytest.raises(ZeroDivisionError):
        await aside(lambda: 1 // 0)
    assert await aside(lambda: 5) == 5
    waiting = asyncio.create_task(aside(lambda: loop.call_soon_threadsafe(released.set)))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
