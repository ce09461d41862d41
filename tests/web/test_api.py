"""What the API answers and refuses, over probes that are plain data; its own description judges it, too."""

import json
import re
from typing import Any

import httpx2
import pytest

from cryptostream.errors import (
    BusRefused,
    BusUnavailable,
    CheckFailed,
    ConfigError,
    DataQuality,
    NoAnswer,
    NotFound,
    Unreachable,
    UsageError,
)
from cryptostream.web import shown, site
from cryptostream.web.api import page
from cryptostream.web.api.examples import EXAMPLES
from tests import apidocs
from tests.web.probes import TS_MS, FakeCommands, FakeProbes, quote, strategy

V1 = "/api/v1"
MANY = [f"S{number}USDT" for number in range(10_000)]


class Asking:
    """Asks an application, which takes longer to make than to ask: one for all tests here."""

    def __init__(self, *, docs: bool = True) -> None:
        self.probes = FakeProbes()
        self.commands = FakeCommands()
        self.app = site.make(self.probes, self.commands, secret="-", dashboard=False, docs=docs)

    def forget(self) -> None:
        """Have probes and commands as new ones."""
        vars(self.probes).update(vars(FakeProbes()))
        vars(self.commands).update(vars(FakeCommands()))

    async def __call__(self, method: str, path: str, **how: Any) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.request(method, path, **how)


@pytest.fixture(scope="module")
def _asking() -> Asking:
    return Asking()


@pytest.fixture
def ask(_asking: Asking) -> Asking:
    _asking.forget()
    return _asking


@pytest.fixture
def probes(ask: Asking) -> FakeProbes:
    return ask.probes


@pytest.fixture
def commands(ask: Asking) -> FakeCommands:
    return ask.commands


# --- reads


async def test_the_front_lists_every_path(ask: Asking) -> None:
    told = (await ask("GET", "/")).json()
    assert {"/", "/metrics", "/subscribe", f"{V1}/bars/{{pair}}"} <= set(told["paths"])
    assert (told["docs"], told["dashboard"]) == ("/docs", None)


async def test_health_is_503_with_reasons_that_name_no_address(ask: Asking, probes: FakeProbes) -> None:
    assert (await ask("GET", "/health")).status_code == 200
    probes.reasons = ["no answer from redis://10.1.2.3:6379: timed out"]
    answer = await ask("GET", "/health")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["no answer from the server: timed out"])
    assert (await ask("GET", f"{V1}/realtime/health")).status_code == 503


async def test_quotes_are_chosen_by_symbol_and_have_their_prices_only_when_asked(
    ask: Asking, probes: FakeProbes
) -> None:
    probes.told_quotes = [quote("BTCUSDT"), quote("ETHUSDT")]
    (only,) = (await ask("GET", "/pairs?symbols=ethusdt")).json()
    assert (only["pair"], "spark" in only) == ("ETHUSDT", False)
    assert [one["spark"][0] for one in (await ask("GET", "/pairs?spark=true")).json()] == [45_000.0] * 2


async def test_symbols_are_those_that_are_followed_by_the_names_that_subscribe_takes(
    ask: Asking, probes: FakeProbes
) -> None:
    elsewhere = quote("BTCUSD").model_copy(update={"exchange": "kraken", "stream": "trades:kraken:BTCUSD"})
    left = quote("ETHUSDT").model_copy(update={"state": "quiet"})
    probes.told_quotes = [quote("BTCUSDT"), elsewhere, left]
    assert (await ask("GET", "/symbols")).json() == ["BTCUSDT", "kraken:BTCUSD"]


async def test_times_and_pairs_reach_the_probe_as_it_knows_them(
    ask: Asking, probes: FakeProbes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    async def trades(pair: str, **how: Any) -> list[shown.Trade]:
        asked.append((pair, how))
        return []

    monkeypatch.setattr(probes, "trades", trades)
    await ask("GET", f"{V1}/trades/btcusdt?since=2024-11-14T17:30:00.123Z&until={TS_MS + 1}&limit=7")
    await ask("GET", f"{V1}/trades/币安人生usdt")
    assert asked == [
        ("BTCUSDT", {"since_ms": TS_MS, "until_ms": TS_MS + 1, "limit": 7}),
        ("币安人生USDT", {"since_ms": None, "until_ms": None, "limit": 100}),
    ]


# --- errors


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (NotFound("no trades of X", hint="did you mean Y?"), 404, "no trades of X"),
        (UsageError("what?"), 422, "what?"),
        (ConfigError('unknown strategy "x"'), 422, 'unknown strategy "x"'),
        (CheckFailed("not now"), 409, "not now"),
        (BusUnavailable("no answer from redis://u:pw@10.1.2.3:6379"), 503, "no answer from the server"),
        (BusRefused("wrong password at 10.1.2.3:6379"), 503, "wrong password at the server"),
        (DataQuality("damaged"), 500, "damaged"),
        (NotFound("no \x1b[31mpair"), 404, "no �[31mpair"),
    ],
)
async def test_errors_of_probes_say_whose_fault_it_is(
    ask: Asking, probes: FakeProbes, error: Any, status: int, told: str
) -> None:
    probes.failing = error
    answer = await ask("GET", f"{V1}/trades/BTCUSDT")
    assert (answer.status_code, answer.json()) == (status, {"error": told, "hint": error.hint})
    assert ("retry-after" in answer.headers) is (status == 503)


async def test_what_nobody_expected_is_told_without_its_words(
    ask: Asking, probes: FakeProbes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "stats", lambda: {}["secret-canary"])
    answer = await ask("GET", "/stats")
    assert (answer.status_code, "canary" in answer.text) == (500, False)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/health/", 404),
        ("POST", "/health", 405),
        ("GET", f"{V1}/trades/a%00b", 422),
        ("GET", f"{V1}/trades/a%0Ab", 422),
        ("GET", f"{V1}/trades/..", 404),
        ("GET", f"{V1}/trades/A..B", 422),
        ("GET", f"{V1}/trades/{'A' * 33}", 422),
        ("GET", f"{V1}/trades/a:b:c", 422),
        ("GET", f"{V1}/trades/BTCUSDT?limit=501", 422),
        ("GET", f"{V1}/trades/BTCUSDT?limit=0", 422),
        ("GET", f"{V1}/trades/BTCUSDT?since=yesterday", 422),
        ("GET", f"{V1}/trades/BTCUSDT?since=-1m&until=-2m", 422),
        ("GET", f"{V1}/bars/BTCUSDT?interval=soon", 422),
        ("GET", f"{V1}/realtime/signals/BTCUSDT?strategy=a*", 422),
        ("GET", f"{V1}/events?streams=control%20x", 422),
        ("GET", f"{V1}/events", 422),
        ("GET", f"{V1}/strategies/nobody", 404),
        ("GET", f"{V1}/backtests/nobody", 404),
        ("GET", f"{V1}/reports/nobody/curves", 404),
    ],
)
async def test_what_does_not_fit_is_refused_as_a_failure(ask: Asking, method: str, path: str, status: int) -> None:
    answer = await ask(method, path)
    assert answer.status_code == status
    assert shown.Failure.model_validate_json(answer.content).error
    assert answer.text.strip().isprintable()


# --- wishes


async def test_symbols_are_followed_and_left_by_a_plain_list(ask: Asking, commands: FakeCommands) -> None:
    answer = await ask("POST", "/subscribe", json=["btcusdt", "BTCUSDT", "NOSUCH"])
    assert answer.status_code == 200
    verdicts = [(one["what"], one["accepted"], one["why"]) for one in answer.json()["verdicts"]]
    assert verdicts == [("BTCUSDT", True, ""), ("NOSUCH", False, "no such symbol")]
    await ask("DELETE", "/subscribe", json=["BTCUSDT"])
    await ask("DELETE", "/subscribe?symbols=ethusdt,BTCUSDT")
    wished = [(one.add, one.remove) for _, one in commands.wished]
    assert wished == [(["BTCUSDT", "NOSUCH"], []), ([], ["BTCUSDT"]), ([], ["ETHUSDT", "BTCUSDT"])]


async def test_an_answer_says_by_its_status_what_became_of_the_wish(ask: Asking, commands: FakeCommands) -> None:
    assert (await ask("POST", "/subscribe", json=["NOSUCH"])).status_code == 409
    nobody = Unreachable("nobody consumes", hint="start it")
    silent = NoAnswer("no answer in time to request 1-0 from trader-box:123", hint="it may have been obeyed")
    for error, status in ((nobody, 503), (silent, 504)):
        commands.failing = error
        answer = await ask("POST", f"{V1}/consumers/momentum/pause")
        assert (answer.status_code, answer.json()) == (status, {"error": str(error), "hint": error.hint})


WISHES: list[tuple[str, str, Any]] = [
    ("POST", "/subscribe", MANY),
    ("POST", "/subscribe", []),
    ("POST", "/subscribe", ["A B"]),
    ("POST", "/subscribe", {"symbols": ["BTCUSDT"]}),
    ("DELETE", "/subscribe", None),
    ("DELETE", f"/subscribe?symbols={','.join(MANY[:501])}", None),
    ("POST", f"{V1}/realtime/watchlist", {}),
    ("POST", f"{V1}/realtime/watchlist", {"add": ["A"], "replace": []}),
    ("POST", f"{V1}/realtime/watchlist", {"replace": [], "reset": True}),
    ("POST", f"{V1}/realtime/watchlist", {"add": ["A"], "more": 1}),
    ("POST", f"{V1}/realtime/watchlist", {"add": ["btcusdt"], "remove": ["A", "binance:BTCUSDT"]}),
    ("POST", f"{V1}/strategies", {"strategy": "../mine.py:Mine"}),
    ("POST", f"{V1}/strategies", {"strategy": "ma_cross", "bars": "soon"}),
    ("POST", f"{V1}/strategies", {"strategy": "ma_cross", "name": "a:b"}),
    ("PUT", f"{V1}/strategies/momentum/parameters", {}),
    ("PUT", f"{V1}/strategies/momentum/parameters", {"a b": 1}),
    ("PUT", f"{V1}/strategies/momentum/parameters", {"a": [[[[[1]]]]]}),
    ("PUT", f"{V1}/strategies/momentum/parameters", {"a": "\ud800"}),
    ("PUT", f"{V1}/strategies/momentum/parameters", {"a": float("nan")}),
    ("PUT", f"{V1}/strategies/momentum/parameters", {"a": 10**50}),
    ("POST", f"{V1}/dead-letters/retry", {"queue": "dlq:x", "ids": []}),
    ("POST", f"{V1}/dead-letters/retry", {"queue": "dlq:\n", "ids": ["1-0"]}),
    ("POST", f"{V1}/backtests", {"sources": ["a"], "strategies": ["b"], "bars": "soon"}),
]


@pytest.mark.row(36)
@pytest.mark.parametrize(("method", "path", "body"), WISHES, ids=range(len(WISHES)))
async def test_wishes_that_do_not_fit_reach_nobody(
    ask: Asking, commands: FakeCommands, method: str, path: str, body: Any
) -> None:
    content = None if body is None else json.dumps(body).encode()
    answer = await ask(method, path, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, commands.wished) == (422, [])
    assert len(answer.content) < 1000


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [(b"[" * 30_000, "application/json", 400), (b"{", "application/json", 422), (b'["BTCUSDT"]', "text/plain", 422)],
    ids=["deep", "cut short", "not called JSON"],
)
async def test_bodies_that_are_no_json_reach_nobody(
    ask: Asking, commands: FakeCommands, body: bytes, kind: str, status: int
) -> None:
    answer = await ask("POST", "/subscribe", content=body, headers={"content-type": kind})
    assert (answer.status_code, list(answer.json()), commands.wished) == (status, ["error", "hint"], [])


async def test_a_strategy_that_was_stopped_is_started_by_its_kind_and_name(
    ask: Asking, probes: FakeProbes, commands: FakeCommands
) -> None:
    probes.told_strategies = [strategy("fast").model_copy(update={"state": "paused"})]
    await ask("POST", f"{V1}/strategies/fast/start")
    await ask("POST", f"{V1}/strategies", json={"strategy": "ma_cross", "symbols": ["btcusdt"], "bars": "5s"})
    await ask("PUT", f"{V1}/strategies/fast/parameters", json={"rsi_period": 21})
    await ask("POST", f"{V1}/strategies/fast/stop")
    assert commands.wished == [
        ("start", shown.Start(strategy="macd_rsi", name="fast")),
        ("start", shown.Start(strategy="ma_cross", symbols=["BTCUSDT"], bars="5s")),
        ("parameters", ("fast", {"rsi_period": 21})),
        ("stop", "fast"),
    ]


async def test_letters_and_backtests_are_asked_for_here(ask: Asking, commands: FakeCommands) -> None:
    retried = await ask("POST", f"{V1}/dead-letters/retry", json={"queue": "dlq:x", "ids": ["1-0", "1-0", "2-0"]})
    asked = await ask("POST", f"{V1}/backtests", json={"sources": ["trades:BTCUSDT"], "strategies": ["macd_rsi"]})
    assert (retried.json(), asked.status_code, asked.json()["id"]) == ({"retried": 2, "left": []}, 202, "j2")


# --- what describes it


async def test_where_others_can_ask_nothing_describes_it(ask: Asking) -> None:
    assert (await ask("GET", "/docs")).status_code == 200
    exposed = Asking(docs=False)
    exposed.app.openapi_schema = ask.app.openapi()  # the same, which takes long to make
    assert [(await exposed("GET", path)).status_code for path in ("/docs", "/openapi.json")] == [404, 404]
    assert (await exposed("GET", "/")).json()["docs"] is None


async def test_the_page_runs_no_script_and_asks_nobody(ask: Asking) -> None:
    text = (await ask("GET", "/docs")).text
    assert not re.search(r"<script|https?://|src=", text)
    ids, links = re.findall(r'id="(\w+)"', text), re.findall(r'href="#(\w+)"', text)
    assert set(links) <= set(ids), "every link leads somewhere"


def test_every_operation_says_what_it_is_for(ask: Asking) -> None:
    found = list(page.operations(ask.app.openapi()))
    assert len(found) > 30
    assert [one.path for one in found if not one.summary] == []
    assert all("$ref" in told or told["description"] for told in _answers(ask.app.openapi()))


def _answers(schema: Any) -> list[Any]:
    operations = [one for methods in schema["paths"].values() for one in methods.values()]
    return [told for one in operations for told in one["responses"].values()]


def test_examples_stand_in_the_description(ask: Asking) -> None:
    schemas = ask.app.openapi()["components"]["schemas"]
    told = [type(body).model_validate(schemas[type(body).__name__]["examples"][0]) for body in EXAMPLES]
    assert told == list(EXAMPLES)


def test_the_reference_is_what_the_program_says() -> None:
    assert apidocs.PLACE.read_text() == apidocs.written(), "run `make docs`"
