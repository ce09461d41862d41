"""Discovery under every failure of its doors (fault 32): there is always a list, and it says where it comes from."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
import stamina

from cryptostream.errors import ConfigError, VenueUnavailable
from cryptostream.feed.discover import Discovery, discover, last_good
from cryptostream.feed.lastgood import write_whole
from cryptostream.feed.rest import Rest
from cryptostream.testing import ManualClock
from cryptostream.venues.binance import Binance
from cryptostream.venues.ranking import Reason

KEY = "CG-canary-0123456789"


class Sealed:
    def get_secret_value(self) -> str:
        return KEY


@dataclass
class Asked:
    """What a person asks for."""

    url: str = "https://api.coingecko.com/api/v3"
    api_key: Sealed | None = None
    pro_api_key: Sealed | None = None
    top: int = 3
    quote: str = "USDT"
    fallback_pairs: list[str] = field(default_factory=lambda: ["BTCUSDT", "XRPUSDT"])
    exclude: list[str] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)


Door = Callable[[httpx2.Request], httpx2.Response] | httpx2.Response | Exception


class World:
    """Three doors that answer well until a test says otherwise."""

    def __init__(self) -> None:
        self.coins = ["btc", "eth", "usdc", "sol", "xrp", "ada"]
        self.listed = ["BTC", "ETH", "USDC", "SOL", "XRP", "ADA"]
        self.doors: dict[str, Door] = {
            "/api/v3/coins/markets": lambda request: self._page(int(request.url.params["page"])),
            "/api/v3/exchangeInfo": lambda _: httpx2.Response(200, json={"symbols": [_row(b) for b in self.listed]}),
            "/api/v3/ticker/price": lambda _: httpx2.Response(
                200, json=[{"symbol": f"{base}USDT", "price": "100.0"} for base in self.listed]
            ),
        }
        self.asked: list[httpx2.Request] = []

    def coin_door(self, door: Door) -> None:
        self.doors["/api/v3/coins/markets"] = door

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        door = self.doors[request.url.path]
        answer = door(request) if callable(door) else door
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _page(self, page: int) -> httpx2.Response:
        names = self.coins[(page - 1) * 250 : page * 250]
        rows = [{"id": name, "symbol": name, "name": name.title(), "current_price": 100} for name in names]
        return httpx2.Response(200, json=[row | {"market_cap_rank": rank} for rank, row in enumerate(rows, 1)])


def _row(base: str, status: str = "TRADING") -> dict[str, str]:
    return {"symbol": f"{base}USDT", "status": status, "baseAsset": base, "quoteAsset": "USDT"}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def find(world: World, clock: ManualClock, tmp_path: Path) -> Callable[..., object]:
    """Discover once, as a new process would."""

    async def once(asked: Asked | None = None, **options: object) -> Discovery:
        async with Rest(clock, transport=httpx2.MockTransport(world)) as rest:
            return await discover(rest, Binance(), asked or Asked(), tmp_path, **options)  # type: ignore[arg-type]

    return once


@pytest.fixture(autouse=True)
def retries_do_not_wait() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2, cap=True):
        yield


def pairs(found: Discovery) -> list[str]:
    return [row.pair for row in found.pairs]


async def test_a_live_list_is_ranked_and_always_holds_the_fallback_pairs(find) -> None:
    found = await find()
    assert pairs(found) == ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]
    assert [(row.rank, row.note) for row in found.pairs] == [(1, ""), (2, ""), (4, ""), (None, "always included")]
    assert (found.source, found.warnings) == ("live", ())
    assert [(row.coin, row.reason) for row in found.dropped] == [("Usdc", Reason.EXCLUDED)]


async def test_a_fallback_pair_that_does_not_trade_is_left_out_with_its_reason(find, world: World) -> None:
    world.listed.remove("XRP")
    found = await find()
    assert pairs(found) == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    assert found.dropped[-1].pair == "XRPUSDT"
    assert found.warnings == ("always included, yet not traded on binance now: XRPUSDT",)


async def test_pages_are_asked_for_until_there_are_enough(find, world: World) -> None:
    world.listed = [f"C{number}" for number in range(0, 1000, 2)]
    world.coins = [f"c{number}" for number in range(1000)]
    found = await find(Asked(top=200, fallback_pairs=[]))
    assert len(found.pairs) == 200
    assert [request.url.params["page"] for request in world.asked if "page" in request.url.params] == ["1", "2"]


async def test_a_page_that_brings_no_pair_is_the_last(find, world: World) -> None:
    world.coins = ["btc", *(f"c{number}" for number in range(2000))]
    assert pairs(await find(Asked(top=50, fallback_pairs=[]))) == ["BTCUSDT"]
    assert sum("page" in request.url.params for request in world.asked) == 2


async def test_settings_reach_the_mapping(find, world: World) -> None:
    world.coins = ["odd", "btc", "eth"]
    found = await find(Asked(top=5, fallback_pairs=[], exclude=["eth"], aliases={"odd": "ADA"}))
    assert pairs(found) == ["ADAUSDT", "BTCUSDT"]


FAILURES: Mapping[str, Door] = {
    "down": httpx2.ConnectError("refused"),
    "slow": httpx2.ReadTimeout("slow"),
    "500": httpx2.Response(500),
    "429": httpx2.Response(429, headers={"retry-after": "30"}),
    "403": httpx2.Response(403, content=b"<html>Access denied</html>"),
    "wrong key": httpx2.Response(400, json={"error": {"status": {"error_code": 10011, "error_message": "pro host"}}}),
    "redirect": httpx2.Response(302, headers={"location": "https://elsewhere.test/"}),
    "HTML": httpx2.Response(200, content=b"<html>maintenance</html>"),
    "junk": httpx2.Response(200, content=b"\x00\xff{{{"),
    "an error that says 200": httpx2.Response(200, json={"status": {"error_code": 429, "error_message": "no"}}),
    "null": httpx2.Response(200, content=b"null"),
    "no coins": httpx2.Response(200, content=b"[]"),
    "deep": httpx2.Response(200, content=b"[" * 100_000),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_whatever_the_ranking_answers_the_last_good_list_stands_in(failure: str, find, world: World) -> None:
    good = await find()
    world.coin_door(FAILURES[failure])
    found = await find()
    assert pairs(found) == pairs(good)
    assert found.source == "last good list of 2024-11-14T17:30:00Z"


@pytest.mark.parametrize("failure", FAILURES)
async def test_without_a_last_good_list_the_fallback_pairs_are_followed(failure: str, find, world: World) -> None:
    world.coin_door(FAILURES[failure])
    found = await find()
    assert (pairs(found), found.source) == (["BTCUSDT", "XRPUSDT"], "fallback")


async def test_a_huge_answer_is_a_failure_like_any_other(
    find, world: World, clock: ManualClock, tmp_path: Path
) -> None:
    world.coin_door(httpx2.Response(200, content=b"[" + b" " * 2_000_000 + b"]"))
    async with Rest(clock, transport=httpx2.MockTransport(world), body_max=1_000_000) as rest:
        found = await discover(rest, Binance(), Asked(), tmp_path)
    assert found.source == "fallback"
    assert "more than 1,000,000 bytes" in found.warnings[0]


async def test_a_door_that_hangs_costs_no_more_than_the_time_allowed(
    world: World, clock: ManualClock, tmp_path: Path
) -> None:
    async def hang(request: httpx2.Request) -> httpx2.Response:
        if "coins" in request.url.path:
            await asyncio.Event().wait()
        return await world(request)

    async with Rest(clock, transport=httpx2.MockTransport(hang)) as rest:
        found = await discover(rest, Binance(), Asked(), tmp_path, within_s=0.1)
    assert pairs(found) == ["BTCUSDT", "XRPUSDT"]
    assert found.warnings == ("no full answer within 0.1 s",)


async def test_429_says_what_to_do_and_403_what_the_page_said(find, world: World) -> None:
    world.coin_door(FAILURES["429"])
    assert "asked for silence (HTTP 429); try again in 30 s; a free Demo key" in (await find()).warnings[0]
    world.coin_door(FAILURES["403"])
    assert "(HTTP 403): Access denied" in (await find()).warnings[0]


async def test_a_wrong_key_is_explained_and_never_shown(find, world: World) -> None:
    def venue(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["x-cg-demo-api-key"] == KEY
        return httpx2.Response(400, json={"error": f"no such key: {KEY}"})

    world.coin_door(venue)
    found = await find(Asked(api_key=Sealed()))
    assert "no such key: ***" in found.warnings[0]
    assert KEY not in repr(found)


async def test_a_later_page_that_fails_prefers_the_last_good_list(find, world: World, tmp_path: Path) -> None:
    def cut(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(500) if request.url.params["page"] == "2" else world._page(1)

    world.coins = [f"c{number}" for number in range(500)]
    world.listed = [f"C{number}" for number in range(500)]
    asked, whole = Asked(top=300, fallback_pairs=[]), world.doors["/api/v3/coins/markets"]
    world.coin_door(cut)
    partial = await find(asked)
    assert (partial.source, len(partial.pairs)) == ("live", 250)
    assert "page 2 of the ranking" in partial.warnings[0]
    assert last_good(tmp_path, "binance", asked) is None

    world.coin_door(whole)
    assert len((await find(asked)).pairs) == 300
    world.coin_door(cut)
    assert len((await find(asked)).pairs) == 300


async def test_a_pair_that_stopped_trading_leaves_the_last_good_list(find, world: World) -> None:
    await find()
    world.coin_door(FAILURES["down"])
    world.listed.remove("ETH")
    found = await find()
    assert pairs(found) == ["BTCUSDT", "SOLUSDT", "XRPUSDT"]
    assert [(row.pair, row.reason) for row in found.dropped] == [("ETHUSDT", Reason.NOT_TRADABLE)]


async def test_without_instruments_the_last_good_list_is_followed_unchecked(find, world: World) -> None:
    good = await find()
    world.doors["/api/v3/exchangeInfo"] = httpx2.Response(503)
    found = await find()
    assert (pairs(found), found.source[:14]) == (pairs(good), "last good list")
    assert any("the pairs are not checked" in warning for warning in found.warnings)


async def test_a_venue_that_stands_still_does_not_empty_the_list(find, world: World) -> None:
    good = await find()
    rows = [_row(base, "BREAK") for base in world.listed]
    world.doors["/api/v3/exchangeInfo"] = httpx2.Response(200, json={"symbols": rows})
    found = await find()
    assert pairs(found) == pairs(good)
    assert found.warnings


async def test_without_prices_the_list_is_live_and_unchecked(find, world: World) -> None:
    world.doors["/api/v3/ticker/price"] = httpx2.Response(500)
    found = await find()
    assert (found.source, found.pairs[0].note) == ("live", "price unchecked")
    assert "prices of binance" in found.warnings[0]


async def test_a_list_that_loses_more_than_half_is_not_believed_unless_forced(find, world: World) -> None:
    good = await find(Asked(top=6, fallback_pairs=[]))
    world.coins = ["ada", "eth"]
    doubted = await find(Asked(top=6, fallback_pairs=[]))
    assert (pairs(doubted), doubted.source[:14]) == (pairs(good), "last good list")
    assert "lacks 3 of 5 pairs" in doubted.warnings[0]
    forced = await find(Asked(top=6, fallback_pairs=[]), force=True)
    assert (pairs(forced), forced.source) == (["ADAUSDT", "ETHUSDT"], "live")


async def test_offline_asks_nobody(find, world: World) -> None:
    good = await find()
    world.asked.clear()
    found = await find(offline=True)
    assert pairs(found) == pairs(good)
    assert not world.asked


async def test_a_longer_or_shorter_list_is_better_than_none(find) -> None:
    await find(Asked(top=5))
    assert pairs(await find(Asked(top=2, fallback_pairs=[]), offline=True)) == ["BTCUSDT", "ETHUSDT"]
    assert len((await find(Asked(top=50, fallback_pairs=[]), offline=True)).pairs) == 5


async def test_a_list_of_another_length_stands_in_for_a_damaged_one(find, tmp_path: Path) -> None:
    await find(Asked(top=5))
    (tmp_path / "discovery" / "binance-USDT-3.json").write_text("{")
    found = await find(Asked(top=3), offline=True)
    assert found.source.startswith("last good list")
    assert "binance-USDT-3.json cannot be read" in found.warnings[0]


async def test_lists_of_another_quote_are_not_mixed_up(find) -> None:
    await find()
    found = await find(Asked(quote="EUR"), offline=True)
    assert found.source == "fallback"


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"saved_at":"x","top":3,"pairs":[]}',
        b'{"saved_at":"x","top":3,"pairs":[{"pair":"../../etc"}]}',
        b'{"saved_at":"x","top":3,"pairs":[{"pair":"A\\u001b[2J"}]}',
        b"\xff",
    ],
)
async def test_a_damaged_list_is_passed_over_and_named(damage: bytes, find, tmp_path: Path) -> None:
    await find()
    (path,) = (tmp_path / "discovery").iterdir()
    path.write_bytes(damage)
    found = await find(offline=True)
    assert found.source == "fallback"
    assert str(path) in found.warnings[0]


async def test_nothing_at_all_is_an_error_with_a_way_out(find, world: World) -> None:
    world.coin_door(FAILURES["down"])
    with pytest.raises(VenueUnavailable, match="no pair to follow on binance: page 1 of the ranking") as caught:
        await find(Asked(fallback_pairs=[]))
    assert "discovery.fallback_pairs" in caught.value.hint


async def test_an_address_that_must_not_be_called_is_a_config_error(find) -> None:
    with pytest.raises(ConfigError, match=r"http to api\.example\.com is refused"):
        await find(Asked(url="http://api.example.com"))


async def test_a_disk_that_takes_nothing_costs_a_warning(find, tmp_path: Path) -> None:
    (tmp_path / "discovery").write_text("a file where the folder should be")
    found = await find()
    assert found.source == "live"
    assert "not kept on disk" in found.warnings[-1]


async def test_what_is_kept_is_the_ranking_without_the_fallback_pairs(find, tmp_path: Path) -> None:
    await find()
    stored = last_good(tmp_path, "binance", Asked())
    assert stored is not None
    assert [row.pair for row in stored.pairs] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    assert json.loads((tmp_path / "discovery" / "binance-USDT-3.json").read_bytes())["top"] == 3


def test_a_file_is_synced_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: steps.append("fsync") or sync(handle))
    monkeypatch.setattr(Path, "replace", lambda self, to: steps.append("rename") or rename(self, to))
    write_whole(tmp_path / "list", b"new")
    assert steps == ["fsync", "rename", "fsync"]
    assert (tmp_path / "list").read_bytes() == b"new"


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "list", b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "list", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("list", b"old")]
