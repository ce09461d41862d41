"""`config show`, `validate` and `schema`, as a person and as a pipe see them."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cryptostream.cli.command import Call, app
from cryptostream.cli.config import Form, show
from cryptostream.errors import UsageError

SECRET = "hunter2"
FILE = f"""\
bus: {{url: 'redis://:{SECRET}@host:1', maxlen: 5}}
feeds:
  - binance: {{symbols: [A, B], channels: klines:1m}}
consumers:
  c: {{read: trades, write: [console, {{parquet: {{dir: "x y", rows: 7}}}}]}}
discovery: {{api_key: {SECRET}, exclude: ["NO", 'it"s']}}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "dumb")
    for name in ("REDIS_URL", "STREAM_MAXLEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cryptostream_yaml() -> Path:
    path = Path("cryptostream.yaml")
    path.write_text(FILE.replace('it"s', "its"))
    return path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(**options: Any) -> str:
    """What `config show` prints to a person."""
    with redirect_stdout(Terminal()) as terminal:
        show(call(), **options)
    return terminal.getvalue()


def call() -> Call:
    return Call(config=[], set=[], redis=None, data_dir=None, verbose=0, quiet=False, log_format="auto", debug=False)


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["config", *words])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.usefixtures("cryptostream_yaml")
class TestShow:
    def test_a_pipe_gets_json(self) -> None:
        code, out, err = run("show")
        shown = json.loads(out)
        assert (code, err) == (0, "")
        assert shown["bus"]["url"] == "redis://***@host:1"
        assert shown["feeds"][0]["binance"]["channels"] == ["klines:1m"]
        assert shown["consumers"]["c"]["write"] == ["console", {"parquet": {"dir": "x y", "rows": 7}}]

    def test_sources_tell_where_each_value_comes_from(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STREAM_MAXLEN", "9")
        shown = json.loads(run("show", "--sources", "--set", "feed.transport=picows")[1])
        assert shown["bus"]["maxlen"] == {"value": 9, "source": "env STREAM_MAXLEN"}
        assert shown["feed"]["transport"] == {"value": "picows", "source": "--set"}
        assert shown["feeds"][0]["binance"]["symbols"] == {"value": ["A", "B"], "source": "cryptostream.yaml:3:24"}
        assert shown["ingest"]["health_port"] == {"value": 8099, "source": "default"}

    def test_a_terminal_gets_yaml_that_reads_back(self) -> None:
        out = on_a_terminal()
        assert yaml.safe_load(out) == json.loads(run("show")[1])
        assert "  - binance:\n      symbols: [A, B]\n" in out

    def test_sources_are_comments_in_yaml(self) -> None:
        out = on_a_terminal(sources=True)
        assert "  maxlen: 5                             # cryptostream.yaml:1:47\n" in out
        assert "      - console                         # cryptostream.yaml:5:29\n" in out
        assert yaml.safe_load(out) == json.loads(run("show")[1])

    def test_yaml_on_a_pipe_is_what_one_asks_for(self) -> None:
        assert yaml.safe_load(run("show", "-o", "yaml")[1]) == json.loads(run("show")[1])

    @pytest.mark.parametrize("words", [(), ("--sources",), ("-o", "yaml"), ("-o", "yaml", "--sources"), ("-o", "json")])
    def test_secrets_are_masked(self, words: tuple[str, ...]) -> None:
        code, out, err = run("show", *words)
        assert code == 0
        assert SECRET not in out + err

    def test_secrets_are_not_shown_to_a_pipe(self) -> None:
        code, out, err = run("show", "--show-secrets")
        assert (code, out) == (2, "")
        assert "terminal only" in err

    @pytest.mark.parametrize("form", [Form.AUTO, Form.JSON])
    def test_secrets_are_shown_on_a_terminal_to_who_asks(self, form: Form) -> None:
        assert on_a_terminal(show_secrets=True, output=form).count(SECRET) == 2

    def test_asking_for_secrets_on_a_pipe_is_refused_before_anything_is_read(self) -> None:
        with pytest.raises(UsageError):
            show(call(), show_secrets=True)


def test_no_file_is_a_configuration_too() -> None:
    code, out, _ = run("show")
    assert (code, json.loads(out)["bus"]["url"]) == (0, "embedded://")


@pytest.mark.usefixtures("cryptostream_yaml")
def test_a_good_configuration_is_said_to_be_so_on_stderr() -> None:
    assert run("validate") == (0, "", "ok: cryptostream.yaml; feeds: 1, consumers: 1, bus: redis://***@host:1\n")


def test_every_mistake_is_told_and_the_exit_code_is_78() -> None:
    Path("bad.yaml").write_text("bus:\n  maxlan: 5\nfeed: {transport: picow}\n")
    code, out, err = run("validate", "-c", "bad.yaml", "--redis", f"http://u:{SECRET}@host")
    assert (code, out) == (78, "")
    lines = err.splitlines()
    assert lines[0] == 'error: bad.yaml:2:3: bus.maxlan: unknown setting; did you mean "maxlen"?'
    assert lines[1].startswith("bad.yaml:3:19: feed.transport: should be")
    assert lines[2].startswith("flag bus.url: should start with redis://")
    assert len(lines) == 3
    assert SECRET not in err


def test_a_missing_file_ends_with_4() -> None:
    code, out, err = run("validate", "-c", "gone.yaml")
    assert (code, out, err) == (4, "", "error: no such file: gone.yaml\n")


def test_the_schema_names_venues_channels_and_intervals() -> None:
    code, out, err = run("schema")
    schema = json.loads(out)
    feed = schema["$defs"]["FeedConfig"]
    channels = feed["properties"]["binance"]["properties"]["channels"]["items"]["enum"]
    assert (code, err) == (0, "")
    assert feed["additionalProperties"] is False
    assert {"trades", "agg_trades", "klines:1s", "klines:1M"} <= set(channels)
    assert schema["properties"]["venues"]["propertyNames"]["enum"] == ["binance"]
    assert schema["$defs"]["FeedDefaults"]["properties"]["transport"]["enum"] == ["auto", "websockets", "picows"]


@pytest.mark.parametrize("words", [("show",), ("validate",), ("schema",)])
def test_each_explains_itself(words: tuple[str, ...]) -> None:
    assert run(*words, "-h")[0] == 0
