import json
import os
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import cryptostream.cli.simulate  # noqa: F401  # registers the command
from cryptostream.cli.main import app

COMMAND = "import cryptostream.cli.simulate; from cryptostream.cli.main import app; app()"


def run(*words):
    return CliRunner().invoke(app, ["simulate", *words])


def addresses(*words):
    result = run("--port", "0", "--duration", "50ms", *words)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_on_a_pipe_one_json_object_tells_where_everything_is():
    told = addresses("--pairs", "btcusdt,ETHUSDT", "--fault", "drop@5s")
    assert told["pairs"] == ["BTCUSDT", "ETHUSDT"]
    assert told["env"] == {
        "BINANCE_WS_URL": f"ws://127.0.0.1:{told['port']}",
        "BINANCE_REST_URL": f"http://127.0.0.1:{told['port']}",
        "COINGECKO_URL": f"http://127.0.0.1:{told['port']}/coingecko/api/v3",
    }


def test_a_number_makes_up_so_many_pairs():
    assert addresses("--pairs", "3")["pairs"] == ["SIM0001USDT", "SIM0002USDT", "SIM0003USDT"]


def test_the_faults_there_are_can_be_listed():
    result = run("--faults")
    assert {row["fault"] for row in json.loads(result.stdout)} >= {"drop", "halfopen", "duplicate", "rest"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--fault", "dorp"], 2, 'unknown fault "dorp"'),
        (["--duration", "soon"], 2, "not a duration"),
        (["--pairs", "BTC/USDT"], 2, "not a symbol"),
        (["--pairs", ","], 2, "no pairs"),
        (["--pairs", "0"], 2, "made-up pairs"),
        (["--rate", "0"], 2, "rate must be"),
        (["--tape", "/no/such/tape"], 4, "no such tape"),
    ],
)
def test_what_cannot_be_simulated_is_said_in_one_line(words, code, message):
    result = run("--port", "0", "--duration", "50ms", *words)
    assert result.exit_code == code and message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_cleanly(sent, code):
    command = [sys.executable, "-W", "error", "-c", COMMAND, "simulate", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None and json.loads(process.stdout.readline())["port"]
        process.send_signal(sent)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (code, b"")
