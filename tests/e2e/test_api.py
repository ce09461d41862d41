"""The API over what a real ingest writes, both in processes of their own: asked, watched, and obeyed."""

import json
import signal
import subprocess
from collections.abc import Iterator

import httpx2
import pytest
from websockets.sync.client import connect

from tests.e2e.conftest import Exchange, Start, shown, until

V1 = "/api/v1"


@pytest.fixture
def ingest(exchange: Exchange, start: Start) -> subprocess.Popen[str]:
    """One pair of the two that the exchange trades."""
    return start("ingest", "--symbols", "BTCUSDT", "--health-port", "0", env=exchange.env)


@pytest.fixture
def api(ingest: subprocess.Popen[str], start: Start) -> Iterator[httpx2.Client]:
    process = start("serve", "--port", "0", "--no-dashboard")
    assert process.stderr is not None
    url = next(line.removeprefix("API ").strip() for line in process.stderr if line.startswith("API "))
    with httpx2.Client(base_url=url, timeout=10, trust_env=False) as client:
        yield client
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)
    assert process.returncode == 0


def test_what_is_ingested_is_read_watched_and_changed_over_http(api: httpx2.Client) -> None:
    until(lambda: api.get("/health").json()["ws_connected"] and api.get("/symbols").json())
    read(api)
    watched(api)
    changed(api)


def read(api: httpx2.Client) -> None:
    health = api.get("/health").json()
    assert (health["redis_connected"], health["ws_connected"], health["symbols_tracked"]) == (True, True, 1)
    assert [one["pair"] for one in api.get("/pairs").json()] == ["BTCUSDT"]
    until(lambda: api.get(f"{V1}/trades/btcusdt").status_code == 200)  # 404 before the first
    trades = api.get(f"{V1}/trades/btcusdt?limit=20").json()
    ids = [one["trade_id"] for one in trades]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    since = api.get(f"{V1}/trades/BTCUSDT?since={trades[0]['id'].partition('-')[0]}&limit=500").json()
    assert trades[0] in since
    bars = until(lambda: shown(api, f"{V1}/bars/BTCUSDT?interval=1s"))
    assert [one["open_time_ms"] for one in bars] == sorted(one["open_time_ms"] for one in bars)
    assert api.get(f"{V1}/trades/BTCUSTD").status_code == 404
    assert "cryptostream_" in api.get("/metrics").text


def watched(api: httpx2.Client) -> None:
    ids: list[int] = []
    with api.stream("GET", f"{V1}/events?streams=trades:BTCUSDT") as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                ids.append(int(json.loads(line.removeprefix("data: "))["fields"]["trade_id"]))
            if len(ids) == 50:
                break
    assert ids == list(range(ids[0], ids[0] + 50))
    with connect(f"ws://{api.base_url.netloc.decode()}/ws?streams=trades:*", proxy=None) as socket:
        assert json.loads(socket.recv(timeout=10))["stream"] == "trades:BTCUSDT"


def changed(api: httpx2.Client) -> None:
    answer = api.post("/subscribe", json=["ethusdt", "ETHUSDX"])
    verdicts = {one["what"]: (one["accepted"], bool(one["why"])) for one in answer.json()["verdicts"]}
    assert (answer.status_code, verdicts["ETHUSDT"][0], verdicts["ETHUSDX"]) == (200, True, (False, True))
    until(lambda: api.get(f"{V1}/trades/ETHUSDT").status_code == 200)
    assert until(lambda: "ETHUSDT" in api.get("/symbols").json())
    assert api.post("/subscribe", json=["ETHUSDX"]).status_code == 409
    assert api.delete("/subscribe?symbols=ETHUSDT").json()["verdicts"][0]["accepted"]
    refused = api.post(f"{V1}/consumers/nobody/pause", json=None, headers={"content-type": "application/json"})
    assert (refused.status_code, "consumes" in refused.json()["error"]) == (503, True)
