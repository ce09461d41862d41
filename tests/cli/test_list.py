"""What can be chosen from is listed."""

import json

import pytest
from typer.testing import CliRunner

from cryptostream.cli.main import app


def listed(what: str) -> list[dict[str, object]]:
    done = CliRunner().invoke(app, ["list", what])
    assert done.exit_code == 0
    return json.loads(done.stdout)


def test_venues_are_listed_with_their_addresses() -> None:
    assert {row["venue"]: row["websocket"] for row in listed("venues")}["binance"] == "wss://stream.binance.com:9443"


def test_channels_are_listed() -> None:
    assert [row["channel"] for row in listed("channels")] == ["trades", "agg_trades", "klines"]


def test_sinks_are_listed_with_what_they_do() -> None:
    found = {row["sink"]: row["what"] for row in listed("sinks")}
    assert found.keys() >= {"console", "jsonl"}
    assert all(found.values())


@pytest.mark.parametrize("what", ["venue", ""])
def test_anything_else_is_a_usage_error(what: str) -> None:
    assert CliRunner().invoke(app, ["list", what]).exit_code == 2
