"""Security item 2: canaries in every place a secret can stand, looked for in all that could be printed."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from cryptostream import logs
from cryptostream.config import Config, Loaded, load, sinks
from cryptostream.errors import ConfigError

CANARY = "CaNaRy9d1"


class Anything:
    """A sink of somebody else's, which takes whatever it is given."""

    def __init__(self, **given: Any) -> None: ...


@pytest.fixture(autouse=True)
def somebody_elses_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "load", lambda _kind, _name: Anything)


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    secret = tmp_path / "key"
    secret.write_text(f"{CANARY}-file")
    path = tmp_path / "c.yaml"
    path.write_text(
        f"bus: {{url: 'rediss://{CANARY}:p{CANARY}@x@host:1/0?password={CANARY}'}}\n"
        f"discovery: {{api_key: {CANARY}}}\n"
        "consumers:\n"
        "  c: {read: trades, write: [{jsonl: {path: x, "
        f"password: {CANARY}, url: 'postgres://u:{CANARY}@h', deep: [{{token: {CANARY}}}]}}}}]}}\n"
    )
    return load([path], env={"COINGECKO_PRO_API_KEY_FILE": str(secret)})


def test_the_program_gets_the_secrets(loaded: Loaded) -> None:
    discovery = loaded.config.discovery
    assert discovery.api_key is not None
    assert discovery.pro_api_key is not None
    assert (discovery.api_key.get_secret_value(), discovery.pro_api_key.get_secret_value()) == (
        CANARY,
        f"{CANARY}-file",
    )
    assert CANARY in loaded.config.bus.url.get_secret_value()
    assert loaded.config.consumers["c"].write[0]["jsonl"]["password"] == CANARY


def test_nothing_that_is_printed_holds_one(loaded: Loaded, capsys: pytest.CaptureFixture[str]) -> None:
    config = loaded.config
    logs.configure(log_format="json")
    logs.get("config").info("loaded", config=config, loaded=loaded, url=config.bus.url, written=loaded.written)
    printed = {
        "repr": repr(config),
        "str": str(config),
        "format": f"{config} {config.bus.url} {config.discovery.api_key}",
        "loaded": repr(loaded),
        "python": str(config.model_dump()),
        "json": config.model_dump_json(),
        "plain": json.dumps(loaded.plain()),
        "schema": json.dumps(Config.model_json_schema()),
        "sink": f"{config.consumers['c'].write[0]['jsonl']}",
        "logged": capsys.readouterr().err,
    }
    assert [where for where, text in printed.items() if CANARY in text] == []
    assert "rediss://***@host:1/0?password=***" in printed["json"]
    assert '"event": "loaded"' in printed["logged"]


def test_what_may_be_revealed_is_whole(loaded: Loaded) -> None:
    assert json.dumps(loaded.plain(reveal=True)).count(CANARY) == 8


@pytest.mark.parametrize(
    "text",
    [
        f"bus: {{url: 'http://u:{CANARY}@host'}}",
        f"bus: {{url: ['redis://:{CANARY}@host']}}",
        f"bus: 'redis://:{CANARY}@host'",
        f"bus: {{url: 'redis://:{CANARY}@host:port'}}",
        f"bus: {{'redis://:{CANARY}@host': 1}}",
        f"bus: {{url: 'redis://:pa#{CANARY}@[host'}}",
        f"discovery: {{api_key: [{CANARY}]}}",
        f"discovery: {{api_key: !{CANARY} x}}",
        f"discovery: {{api_key: *{CANARY}}}",
        f"discovery: {{api_key: &{CANARY} x, pro_api_key: &{CANARY} y}}",
        f"discovery: {{api_keys: {CANARY}}}",
        f"discovery: {{url: 'https://u:{CANARY}@host'}}",
        f"discovery: {{url: 'https://host?key={CANARY}'}}",
        f"venues: {{binance: {{ws_url: 'wss://u:{CANARY}@host'}}}}",
        f"consumers: {{c: {{read: t:*, write: ['postgres://u:{CANARY}@h']}}}}",
        f"consumers: {{c: {{read: t:*, write: [{{pg: {{password: {CANARY}}}}}]}}}}",
        f"feeds: [{{'redis://u:{CANARY}@h': 1, b: 2}}]",
    ],
)
def test_no_error_tells_one(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load([path])
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["REDIS_URL", "REDIS_HOST", "CRYPTOSTREAM_BUS__URL", "CRYPTOSTREAM_API_KEY"])
def test_no_error_about_a_variable_tells_its_value(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(env={name: f"x://u:{CANARY}@host"})
    assert CANARY not in str(caught.value)


def test_a_configuration_copies_and_pickles_without_showing_anything(loaded: Loaded) -> None:
    assert repr(pickle.loads(pickle.dumps(loaded.config))) == repr(loaded.config)
