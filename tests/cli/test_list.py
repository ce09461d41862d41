"""What can be chosen from is listed."""

import json

import pytest
from typer.testing import CliRunner

from cryptostream import registry
from cryptostream.cli.main import app
from cryptostream.strategies.ma_cross import MaCross
from cryptostream.strategies.rsi_trend import RsiTrend


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


def test_strategies_are_listed_with_parameters_and_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "names", lambda kind: ("ma_cross", "rsi_trend"))
    monkeypatch.setattr(registry, "load", lambda kind, name: {"ma_cross": MaCross, "rsi_trend": RsiTrend}[name])
    assert listed("strategies") == [
        {
            "strategy": "ma_cross",
            "what": "Golden and death cross: a fast moving average of closes crosses a slow one.",
            "parameters": "fast=50 slow=200 average=sma",
            "warm_up": 200,
        },
        {
            "strategy": "rsi_trend",
            "what": "RSI trend following: RSI leaves the range of a falling market, or that of a rising one.",
            "parameters": "period=14 bull=60.0 bear=40.0",
            "warm_up": 15,
        },
    ]


def test_indicators_are_listed_even_where_their_warm_up_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    class Told:
        """An indicator that has to be told something."""

        def __init__(self, period: int) -> None:
            self.warm_up = period

    monkeypatch.setattr(registry, "names", lambda kind: ("told",))
    monkeypatch.setattr(registry, "load", lambda kind, name: Told)
    rows = {row["indicator"]: (row["parameters"], row["warm_up"]) for row in listed("indicators")}
    assert rows["rsi"] == ("period=14", 15)
    assert rows["told"] == ("period", None)
    assert all(row["what"] for row in listed("indicators"))


def test_indicators_of_a_library_are_listed_with_what_they_need() -> None:
    pytest.importorskip("talipp")
    rows = {row["indicator"]: (row["parameters"], row["warm_up"]) for row in listed("indicators")}
    assert rows["talipp:ADX"] == ("di_period adx_period", None)
    assert rows["talipp:AO"] == ("fast_period slow_period ma_type=SMA", None)
    assert rows["talipp:OBV"] == ("", 1)
    assert all("input" not in str(parameters) for parameters, _ in rows.values())


def test_a_table_shows_parameters_as_they_are_written() -> None:
    done = CliRunner().invoke(app, ["list", "indicators", "-o", "table"])
    assert "period=14" in done.stdout


@pytest.mark.parametrize("what", ["venue", ""])
def test_anything_else_is_a_usage_error(what: str) -> None:
    assert CliRunner().invoke(app, ["list", what]).exit_code == 2
