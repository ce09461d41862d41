"""From exchange to stream to screen, each stage a process of its own."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from cryptostream.engine.clock import SystemClock
from tests.e2e.conftest import Exchange, Run, Start, shown, until

CLOCK = SystemClock()
MOST_S, LOADED = 5.0, 3.0
"""What a demo may take to its first candles, and how much more where other tests have the cores."""
_LISTEN = "0A"  # proc(5)


def entries(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


def until_log(process: subprocess.Popen[str], event: str) -> list[dict[str, object]]:
    """The log lines of a running program up to the one that names the event."""
    assert process.stderr is not None
    seen: list[dict[str, object]] = []
    for line in process.stderr:
        seen.append(json.loads(line))
        if seen[-1]["event"] == event:
            return seen
    raise AssertionError(f"it ended without {event}: {seen}")


def test_what_one_process_ingests_another_one_tails_on_the_embedded_bus(
    exchange: Exchange, start: Start, run: Run
) -> None:
    ingest = start("ingest", "--symbols", "BTCUSDT,ETHUSDT", env=exchange.env)
    tail = run("tail", "trades:*", "--wait", "--count", "300", "-n", "300")
    ingest.send_signal(signal.SIGTERM)
    assert (tail.returncode, ingest.wait(20)) == (0, 0)
    for pair in ("BTCUSDT", "ETHUSDT"):
        ids = [int(one["trade_id"]) for one in entries(tail.stdout) if one["stream"] == f"trades:{pair}"]
        assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_what_the_bus_holds_is_there_for_the_next_command(exchange: Exchange, run: Run, redis_binary: str) -> None:
    assert run("ingest", "--symbols", "BTCUSDT", "--max-messages", "50", env=exchange.env).returncode == 0
    told = json.loads(run("stats").stdout)
    held = {one["stream"]: one["length"] for one in told["streams"]}
    assert held["trades:BTCUSDT"] == 50
    assert told["publisher"]["publish_count"] == sum(held.values())


def test_a_cut_socket_is_replaced_and_the_stream_goes_on(exchange: Exchange, start: Start, run: Run) -> None:
    ingest = start("ingest", "--symbols", "BTCUSDT", env=exchange.env)
    until_log(ingest, "feed.connected")
    run("tail", "trades:BTCUSDT", "--wait", "--count", "20")
    exchange.inject("drop")
    until_log(ingest, "feed.disconnected")
    until_log(ingest, "feed.connected")
    before = len(entries(run("tail", "BTCUSDT", "-n", "100000", "--no-follow").stdout))
    assert len(entries(run("tail", "BTCUSDT", "-n", "0", "--count", "50").stdout)) == 50
    ingest.send_signal(signal.SIGTERM)
    assert ingest.wait(20) == 0
    assert len(entries(run("tail", "BTCUSDT", "-n", "100000", "--no-follow").stdout)) >= before + 50


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_drains_within_ten_seconds(exchange: Exchange, start: Start, sent: signal.Signals, code: int) -> None:
    ingest = start("ingest", "--symbols", "BTCUSDT", env=exchange.env)
    until_log(ingest, "feed.connected")
    ingest.send_signal(sent)
    assert ingest.wait(10) == code


@pytest.mark.parametrize("transport", ["websockets", "picows"])
@pytest.mark.usefixtures("held_bus")
def test_a_replay_of_the_recorded_frames_writes_the_very_entries_that_live_wrote(
    exchange: Exchange, run: Run, tmp_path: Path, transport: str
) -> None:
    if transport == "picows":
        pytest.importorskip("picows")
    tape = tmp_path / "tape"
    live = run(
        *("ingest", "--symbols", "BTCUSDT,ETHUSDT", "--channels", "trades,klines:1s", "--duration", "3s"),
        *("--record", str(tape), "--set", f"feed.transport={transport}", "--set", "bus.maxlen=0"),
        env=exchange.env,
    )
    assert live.returncode == 0, live.stderr
    replayed = run("replay", str(tape), "--prefix", "again:")
    assert replayed.returncode == 0, replayed.stderr
    assert json.loads(replayed.stdout)["published"] > 300
    shown = {}
    for prefix in ("", "again:"):
        found = run("tail", f"{prefix}trades:*", f"{prefix}klines:*", "-n", "100000", "--no-follow").stdout
        shown[prefix] = [{**one, "stream": one["stream"].removeprefix(prefix)} for one in entries(found)]
    assert len(shown[""]) > 300
    assert shown[""] == shown["again:"]


def test_printing_instead_of_publishing_needs_no_bus(exchange: Exchange, run: Run) -> None:
    done = run("ingest", "--symbols", "BTCUSDT", "--sink", "stdout", "--max-messages", "7", env=exchange.env)
    assert done.returncode == 0
    assert [one["stream"] for one in entries(done.stdout)] == ["trades:BTCUSDT"] * 7


def test_the_plan_shows_pairs_and_connections_and_connects_nowhere(exchange: Exchange, run: Run) -> None:
    done = run(
        *("ingest", "--symbols", "BTCUSDT,ETHUSDT", "--dry-run", "--set", "feed.pairs_per_connection=1"),
        env=exchange.env,
    )
    assert [row["pairs"] for row in json.loads(done.stdout)] == ["BTCUSDT", "ETHUSDT"]


def test_pairs_by_discovery_are_followed(exchange: Exchange, run: Run) -> None:
    done = run("ingest", "--top", "2", "--sink", "stdout", "--max-messages", "100", env=exchange.env)
    assert done.returncode == 0, done.stderr
    assert {one["stream"] for one in entries(done.stdout)} == {"trades:BTCUSDT", "trades:ETHUSDT"}


def test_consumers_run_without_any_feed(run: Run, held_bus: None, tmp_path: Path) -> None:
    config = tmp_path / "consumers.yaml"
    config.write_text(
        f"consumers: {{keeper: {{read: [trades], write: [{{jsonl: {{path: {tmp_path}/kept.jsonl}}}}]}}}}\n"
    )
    done = run("run", "-c", str(config), "--duration", "1s", "--no-serve", "--set", "ingest.health_port=0")
    assert done.returncode == 0, done.stderr


def test_a_consumer_of_the_configuration_gets_what_the_feed_publishes(
    exchange: Exchange, start: Start, tmp_path: Path
) -> None:
    config = tmp_path / "all.yaml"
    config.write_text(
        "feeds:\n  - binance: {symbols: [BTCUSDT], channels: [trades]}\n"
        "consumers:\n"
        f"  keeper: {{read: [trades], write: [{{jsonl: {{path: {tmp_path}/kept.jsonl}}}}]}}\n"
        "  buyers: {read: [BTCUSDT], where: 'side == \"buy\"', write: [console]}\n"
    )
    words = ["run", "-c", str(config), "--duration", "4s", "--set", "ingest.health_port=0"]
    process = start(*words, "--no-serve", env=exchange.env)
    until_log(process, "feed.connected")
    assert len(listening(process.pid)) == 1, "health alone"
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    kept = entries((tmp_path / "kept.jsonl").read_text())
    ids = [int(one["trade_id"]) for one in kept]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    bought = [one["id"] for one in entries(output)]
    kept_buys = [one["id"] for one in kept if one["side"] == "buy"]
    both = min(len(bought), len(kept_buys))  # each consumer ends at its own entry
    assert both > 50
    assert bought[:both] == kept_buys[:both]


def listening(pid: int) -> set[str]:
    """The addresses where a process takes connections of others, as Linux tells them."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()]
    return {row[1] for row in rows if row[3] == _LISTEN and f"socket:[{row[9]}]" in links}


def test_the_demo_opens_with_live_candles_and_says_what_to_type_next(
    start: Start, record_property: Callable[[str, object], None]
) -> None:
    began_s = CLOCK.monotonic()
    process = start("run", "--demo", "--port", "0")
    assert process.stderr is not None
    told = []
    while not (told and told[-1].startswith("API ")):
        told.append(next(process.stderr))
    url = told[-1].removeprefix("API ").strip()
    with httpx2.Client(base_url=url, timeout=10, trust_env=False) as client:
        last = until(lambda: shown(client, "/api/v1/bars/BTCUSDT?interval=1s"))[-1]
        took_s = CLOCK.monotonic() - began_s
        until(lambda: shown(client, "/api/v1/bars/BTCUSDT?interval=1s")[-1] != last)
    record_property("figure", f"candles after {took_s:.1f} s")
    assert took_s < MOST_S * LOADED
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, ""), errors
    assert f"dashboard {url}dashboard/" in "".join(told)
    assert "cryptostream tail BTCUSDT" in errors
    assert "web.ended" not in errors
