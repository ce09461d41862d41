"""From exchange to stream to screen, each stage a process of its own."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Exchange, Run, Start


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
    exchange: Exchange, run: Run, tmp_path: Path
) -> None:
    config = tmp_path / "all.yaml"
    config.write_text(
        "feeds:\n  - binance: {symbols: [BTCUSDT], channels: [trades]}\n"
        "consumers:\n"
        f"  keeper: {{read: [trades], write: [{{jsonl: {{path: {tmp_path}/kept.jsonl}}}}]}}\n"
        "  buyers: {read: [BTCUSDT], where: 'side == \"buy\"', write: [console]}\n"
    )
    done = run("run", "-c", str(config), "--duration", "4s", "--no-serve", env=exchange.env)
    assert done.returncode == 0, done.stderr
    kept = entries((tmp_path / "kept.jsonl").read_text())
    ids = [int(one["trade_id"]) for one in kept]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    bought = [one["id"] for one in entries(done.stdout)]
    kept_buys = [one["id"] for one in kept if one["side"] == "buy"]
    both = min(len(bought), len(kept_buys))  # each consumer ends at its own entry
    assert both > 50
    assert bought[:both] == kept_buys[:both]


def test_the_demo_runs_without_network_and_says_what_to_type_next(run: Run) -> None:
    done = run("run", "--demo", "--duration", "4s", "--port", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "cryptostream tail BTCUSDT" in done.stderr
    assert "dashboard http://127.0.0.1:" in done.stderr
    assert "web.listening" in done.stderr
    assert "web.ended" not in done.stderr
