"""A page of the ranking: nulls everywhere, rows that cannot be read, and answers that are no page at all."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.errors import BadFrame
from cryptostream.venues.coingecko import PRO_URL, PUBLIC_URL, advice, coins, complaint, markets_request
from cryptostream.venues.ranking import Coin

SHARED = Path(__file__).parents[3] / "shared" / "data" / "coingecko"
NULLS = {"name": None, "current_price": None, "market_cap": None, "market_cap_rank": None, "roi": None}


def page(*rows: object) -> bytes:
    return json.dumps(rows).encode()


def row(**fields: object) -> dict[str, object]:
    return {"id": "bitcoin", "symbol": "btc", **fields}


def test_a_page_is_asked_for_in_dollars_by_market_value() -> None:
    request = markets_request(3, 100)
    assert request.url == f"{PUBLIC_URL}/coins/markets"
    assert request.params == {
        "vs_currency": "usd",
        "order": "market_cap_desc",
        "per_page": "100",
        "page": "3",
        "sparkline": "false",
    }


@pytest.mark.parametrize(
    ("given", "url", "headers"),
    [
        pytest.param({}, PUBLIC_URL, {}, id="no key"),
        pytest.param({"api_key": "d"}, PUBLIC_URL, {"x-cg-demo-api-key": "d"}, id="demo key, public host"),
        pytest.param({"pro_api_key": "p"}, PRO_URL, {"x-cg-pro-api-key": "p"}, id="pro key, pro host"),
        pytest.param({"api_key": "d", "pro_api_key": "p"}, PRO_URL, {"x-cg-pro-api-key": "p"}, id="pro wins"),
        pytest.param(
            {"pro_api_key": "p", "url": "http://127.0.0.1:1/api/"},
            "http://127.0.0.1:1/api",
            {"x-cg-pro-api-key": "p"},
            id="another host stays",
        ),
    ],
)
def test_a_key_goes_to_its_own_host_in_a_header(given: dict[str, str], url: str, headers: dict[str, str]) -> None:
    request = markets_request(1, **given)  # type: ignore[arg-type]
    assert (request.url, request.headers) == (f"{url}/coins/markets", headers)
    assert not {"d", "p"} & set(request.params.values())


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        pytest.param({"current_price": 77671}, 77671.0, id="int"),
        pytest.param({"current_price": 1913.88}, 1913.88, id="float"),
        pytest.param({"current_price": 7.662e-05}, 7.662e-05, id="exponent"),
        pytest.param({"current_price": None}, None, id="null"),
        pytest.param({}, None, id="missing"),
        pytest.param({"current_price": 0}, None, id="zero"),
        pytest.param({"current_price": -3}, None, id="negative"),
    ],
)
def test_a_price_comes_in_any_number_or_not_at_all(fields: dict[str, object], price: float | None) -> None:
    assert [coin.price for coin in coins(page(row(**fields)))] == [price]


def test_null_is_allowed_everywhere_but_in_id_and_symbol() -> None:
    assert coins(page(row(**NULLS))) == [Coin(id="bitcoin", symbol="btc")]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        [],
        {},
        row(id=None),
        row(symbol=None),
        row(symbol=""),
        row(id=["x"]),
        row(current_price={"usd": 1}),
        row(current_price=10**400),
    ],
)
def test_a_row_that_cannot_be_read_costs_only_itself(bad: object) -> None:
    assert [coin.id for coin in coins(page(bad, row(), bad))] == ["bitcoin"]


def test_the_page_after_the_last_is_empty() -> None:
    assert coins(b"[]") == []


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b'{"status":{"error_code":429,"error_message":"slow down"}}', "slow down", id="status"),
        pytest.param(b'{"error":{"status":{"error_code":10011,"error_message":"host"}}}', "host", id="error status"),
        pytest.param(b'{"error":"coin not found"}', "coin not found", id="error"),
        pytest.param(b"<html><h1>Access denied</h1>1020</html>", "Access denied 1020", id="HTML"),
        pytest.param(b"[1, 2]", "without a single coin", id="a list of something else"),
        pytest.param(b"", "", id="nothing"),
        pytest.param(b"[" * 200_000, "", id="deep"),
        pytest.param(b"\xff\xfe[]", "", id="not UTF-8"),
        pytest.param(b'[{"id":"bitcoin"', "", id="truncated"),
        pytest.param(b"[" + b"{}," * 2000 + b"{}]", "length <= 1000", id="a list too long"),
        pytest.param(b"[" + b" " * 5_000_000 + b"]", "5,000,002 bytes", id="a page too big"),
        pytest.param(b'{"error":{"status":[]}}', "", id="a fourth shape"),
    ],
)
def test_what_is_no_page_is_refused_in_its_own_words(payload: bytes, reason: str) -> None:
    with pytest.raises(BadFrame) as caught:
        coins(payload)
    assert str(caught.value)
    assert reason in str(caught.value)


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(repr).map(str.encode)
)
def test_no_payload_crashes(payload: bytes) -> None:
    code, said = complaint(payload)
    assert code is None or isinstance(code, int)
    assert len(said) <= 200
    with suppress(BadFrame):
        assert isinstance(coins(payload), list)


@pytest.mark.parametrize(
    ("status", "payload", "word"),
    [
        pytest.param(429, b"", "COINGECKO_API_KEY", id="rate limit"),
        pytest.param(401, b"", "own host", id="401"),
        pytest.param(400, b'{"error":{"status":{"error_code":10010}}}', "own host", id="wrong kind of key"),
        pytest.param(500, b"<html>", "", id="nothing to be done"),
    ],
)
def test_advice_follows_from_the_answer(status: int, payload: bytes, word: str) -> None:
    assert word in advice(status, payload)
    assert bool(word) is bool(advice(status, payload))


@pytest.mark.skipif(not SHARED.exists(), reason="the shared recordings are not here")
@pytest.mark.parametrize(
    ("name", "count"), [("coins_markets_top100_usd_20210624.json", 100), ("coins_markets_top5_usd_20230102.json", 5)]
)
def test_recorded_pages_are_read_whole(name: str, count: int) -> None:
    found = coins((SHARED / name).read_bytes())
    assert len({coin.id for coin in found}) == count
    assert found[0].id == "bitcoin"
    assert all(coin.price and coin.rank and coin.market_cap for coin in found)
