"""Coins to pairs: by the venue's own list, first come first served, and never a namesake."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from cryptostream.model.instrument import Instrument
from cryptostream.venues import coingecko
from cryptostream.venues.binance import Binance
from cryptostream.venues.ranking import STABLECOINS, WRAPPED, Coin, Dropped, Mapped, Ranked, Reason, compare, map_coins

SHARED = Path(__file__).parents[3] / "shared" / "data"
COINS = SHARED / "coingecko" / "coins_markets_top100_usd_20210624.json"
INSTRUMENTS = SHARED / "binance" / "exchangeInfo_spot_20211012.json.gz"


def listed(*names: str, quote: str = "USDT", tradable: bool = True) -> list[Instrument]:
    return [Instrument(symbol=name + quote, base=name, quote=quote, tradable=tradable) for name in names]


def coin(symbol: str, price: float | None = None, *, coin_id: str = "", rank: int | None = None) -> Coin:
    return Coin(id=coin_id or symbol.lower(), symbol=symbol, name=symbol.title(), price=price, rank=rank)


def pairs(mapped: Mapped) -> list[str]:
    return [row.pair for row in mapped.pairs]


def reasons(mapped: Mapped) -> list[tuple[str, Reason]]:
    return [(row.coin, row.reason) for row in mapped.dropped]


def test_pairs_come_in_the_order_of_the_ranking_whatever_the_case_of_the_ticker() -> None:
    mapped = map_coins([coin("btc", rank=1), coin("AVAX", rank=2)], listed("AVAX", "BTC"), {}, limit=10)
    assert mapped.pairs == (
        Ranked(pair="BTCUSDT", rank=1, coin="Btc", note="price unchecked"),
        Ranked(pair="AVAXUSDT", rank=2, coin="Avax", note="price unchecked"),
    )


def test_the_first_so_many_are_taken_and_what_comes_after_is_not_called_dropped() -> None:
    mapped = map_coins([coin(name) for name in ("a", "x", "b", "c", "y")], listed("A", "B", "C"), {}, limit=2)
    assert (pairs(mapped), reasons(mapped)) == (["AUSDT", "BUSDT"], [("X", Reason.NO_PAIR)])


@pytest.mark.parametrize(
    ("instruments", "reason", "pair"),
    [
        pytest.param([], Reason.NO_PAIR, "", id="nothing listed"),
        pytest.param(listed("ABC", quote="BTC"), Reason.NO_PAIR, "", id="another quote"),
        pytest.param(listed("AB", quote="CUSDT"), Reason.NO_PAIR, "", id="the same letters, split elsewhere"),
        pytest.param(listed("ABC", tradable=False), Reason.NOT_TRADABLE, "ABCUSDT", id="in BREAK"),
    ],
)
def test_a_coin_that_does_not_trade_is_dropped_with_its_reason(
    instruments: list[Instrument], reason: Reason, pair: str
) -> None:
    mapped = map_coins([coin("abc", rank=7)], instruments, {}, limit=10)
    assert mapped == Mapped((), (Dropped(coin="Abc", rank=7, reason=reason, pair=pair),))


def test_a_coin_that_comes_twice_counts_once() -> None:
    mapped = map_coins([coin("btc"), coin("eth"), coin("btc")], listed("BTC", "ETH"), {}, limit=10)
    assert (pairs(mapped), mapped.dropped) == (["BTCUSDT", "ETHUSDT"], ())


def test_the_higher_ranked_of_two_namesakes_gets_the_pair() -> None:
    mapped = map_coins([coin("one", coin_id="harmony"), coin("one", coin_id="impostor")], listed("ONE"), {}, limit=10)
    assert (len(mapped.pairs), reasons(mapped)) == (1, [("One", Reason.TAKEN)])


def test_a_namesake_whose_price_differs_leaves_the_pair_to_the_right_coin() -> None:
    coins = [coin("pi", 0.35, coin_id="pi-network"), coin("pi", 12.0, coin_id="the-listed-one")]
    mapped = map_coins(coins, listed("PI"), {"PIUSDT": 12.1}, limit=10)
    assert [row.price for row in mapped.pairs] == [12.0]
    assert (mapped.dropped[0].reason, mapped.dropped[0].note) == (Reason.PRICE_DIFFERS, "trades at 12.1")


@pytest.mark.parametrize(
    ("ours", "theirs", "agrees"),
    [(100, 100, True), (90, 100, True), (110, 100, True), (89.9, 100, False), (110.1, 100, False), (1e-9, 1e-9, True)],
)
def test_prices_may_be_ten_percent_apart(ours: float, theirs: float, agrees: bool) -> None:
    mapped = map_coins([coin("btc", ours)], listed("BTC"), {"BTCUSDT": theirs}, limit=10)
    assert bool(mapped.pairs) is agrees


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_that_is_none_checks_nothing(price: float) -> None:
    mapped = map_coins([coin("btc", 5.0)], listed("BTC"), {"BTCUSDT": price}, limit=10)
    assert mapped.pairs[0].note == "price unchecked"


@pytest.mark.parametrize(
    ("base", "note"), [("1000SATS", "1,000 coins each"), ("1MSATS", "1,000,000 coins each"), ("SATS", "")]
)
def test_units_of_many_coins_are_found_by_price(base: str, note: str) -> None:
    unit = {"1000SATS": 1000, "1MSATS": 1_000_000, "SATS": 1}[base]
    mapped = map_coins([coin("sats", 2.4e-7)], listed(base), {f"{base}USDT": 2.5e-7 * unit}, limit=10)
    assert [(row.pair, row.note) for row in mapped.pairs] == [(f"{base}USDT", note)]


def test_units_are_not_guessed_without_a_price() -> None:
    assert reasons(map_coins([coin("cat")], listed("1000CAT"), {}, limit=10)) == [("Cat", Reason.NO_PAIR)]


@pytest.mark.parametrize("barred", ["USDC", "usdc", "USDCUSDT", "usd-coin"])
def test_a_coin_is_excluded_by_base_pair_or_id(barred: str) -> None:
    mapped = map_coins([coin("usdc", coin_id="usd-coin")], listed("USDC"), {}, limit=10, exclude=[barred])
    assert reasons(mapped) == [("Usdc", Reason.EXCLUDED)]


def test_an_alias_goes_by_the_coins_id_and_before_its_ticker() -> None:
    coins = [coin("luna", coin_id="terra-luna"), coin("luna", coin_id="terra-luna-2")]
    mapped = map_coins(coins, listed("LUNC", "LUNA"), {}, limit=10, aliases={"terra-luna": "lunc"})
    assert pairs(mapped) == ["LUNCUSDT", "LUNAUSDT"]


def test_an_alias_that_is_not_listed_gives_way_to_the_ticker() -> None:
    mapped = map_coins([coin("nano")], listed("NANO"), {}, limit=10, aliases={"nano": "XNO"})
    assert pairs(mapped) == ["NANOUSDT"]


@pytest.mark.parametrize(
    ("quote", "rates"),
    [
        pytest.param("EUR", {"EURUSDT": 1.25}, id="quote in dollars"),
        pytest.param("TRY", {"USDTTRY": 40.0}, id="dollars in quote"),
    ],
)
def test_prices_against_another_quote_are_compared_in_dollars(quote: str, rates: dict[str, float]) -> None:
    rate = rates.get("EURUSDT") or 1 / rates["USDTTRY"]
    instruments = [*listed("BTC", "BAD", quote=quote), *listed("EUR"), *listed("USDT", quote="TRY")]
    prices = {f"BTC{quote}": 50_000 / rate, f"BAD{quote}": 7.0 / rate, **rates}
    mapped = map_coins([coin("btc", 50_000), coin("bad", 9.0)], instruments, prices, quote=quote, limit=10)
    assert (pairs(mapped), reasons(mapped)) == ([f"BTC{quote}"], [("Bad", Reason.PRICE_DIFFERS)])


def test_a_quote_without_a_rate_is_taken_unchecked() -> None:
    mapped = map_coins([coin("eth", 3000)], listed("ETH", quote="BTC"), {"ETHBTC": 0.05}, quote="BTC", limit=10)
    assert mapped.pairs[0].note == "price unchecked"


@pytest.mark.skipif(not (COINS.exists() and INSTRUMENTS.exists()), reason="the shared recordings are not here")
def test_real_ranking_on_real_instruments_gives_the_known_numbers() -> None:
    coins = coingecko.coins(COINS.read_bytes())
    instruments = Binance().instruments(gzip.decompress(INSTRUMENTS.read_bytes()))

    bare = map_coins(coins, instruments, {}, limit=100)
    assert len(bare.pairs) == 74
    assert Counter(row.reason for row in bare.dropped) == {Reason.NOT_TRADABLE: 2, Reason.NO_PAIR: 24}
    assert {row.pair for row in bare.dropped if row.pair} == {"DAIUSDT", "PAXUSDT"}

    assert len(map_coins(coins, instruments, {}, limit=100, exclude=STABLECOINS | WRAPPED).pairs) == 71

    aliased = map_coins(coins, instruments, {}, limit=100, aliases=coingecko.ALIASES)
    assert set(pairs(aliased)) - set(pairs(bare)) == {"IOTAUSDT"}
    assert not any(pair.endswith(("UPUSDT", "DOWNUSDT", "BULLUSDT")) for pair in pairs(aliased))


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        pytest.param("ABC", "ABC", [], id="the same"),
        pytest.param("", "A", [("added", "A", 1, None)], id="from nothing"),
        pytest.param("A", "", [("removed", "A", None, 1)], id="to nothing"),
        pytest.param("ABCD", "BCD", [("removed", "A", None, 1)], id="who moves up by a removal has not moved"),
        pytest.param("ABCDE", "BCDEA", [("moved", "A", 5, 1)], id="who is overtaken by one has not moved"),
    ],
)
def test_lists_are_compared_by_what_really_changed(
    before: str, after: str, changes: list[tuple[str, str, int | None, int | None]]
) -> None:
    assert [(made.change, made.pair, made.place, made.was) for made in compare(before, after)] == changes
