"""`cryptostream dlq` as a person types it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner, Result

from cryptostream.cli import dlq, main, render
from cryptostream.cli.render import Output

Run = Callable[..., Result]
TOLD = {"stream": "trades:A", "error": "ValueError: odd", "deliveries": "5", "ts": "2024-11-14T17:30:00.000000"}


@pytest.fixture
def run(bus_url: str, tmp_path: Path) -> Run:
    def invoke(*words: str) -> Result:
        options = ["--redis", bus_url, "--data-dir", str(tmp_path / "data")]
        return CliRunner().invoke(main.app, ["dlq", *words, *options])

    return invoke


@pytest.fixture
def filled(server: redis.Redis) -> redis.Redis:
    """A group `g` that set two of its three entries aside, as letters 1-0 and 2-0, and one frame."""
    for number in (1, 2, 3):
        server.xadd("trades:A", {"price": "5"}, id=f"{number}-1")
    server.xgroup_create("trades:A", "g", "0")
    server.xreadgroup("g", "one", {"trades:A": ">"})
    server.xack("trades:A", "g", "1-1", "2-1", "3-1")
    for number in (1, 2):
        server.xadd("dlq:g", {**TOLD, "entry_id": f"{number}-1", "entry.price": "5"}, id=f"{number}-0")
    server.xadd("dlq:ingest", {"source": "ws://x", "reason": "no JSON", "frame": "{", "size": "1"}, id="7-0")
    return server


def printed(result: Result, code: int = 0) -> Any:
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def letters(server: redis.Redis, key: str = "dlq:g") -> list[str]:
    return [letter_id for letter_id, _ in server.xrange(key)]


def pending(server: redis.Redis) -> list[str]:
    return [one["message_id"] for one in server.xpending_range("trades:A", "g", "-", "+", 10)]


def test_ls_counts_letters_of_groups_and_of_ingest(run: Run, filled: redis.Redis) -> None:
    assert [(row["group"], row["letters"]) for row in printed(run("ls"))] == [("g", 2), ("ingest", 1)]


def test_ls_of_none_is_an_empty_list(run: Run, filled: redis.Redis) -> None:
    for key in ("dlq:g", "dlq:ingest"):
        filled.xtrim(key, maxlen=0)
    assert printed(run("ls")) == []


@pytest.mark.parametrize("name", ["g", "dlq:g"])
def test_show_says_why_and_what_was_in_them(run: Run, filled: redis.Redis, name: str) -> None:
    first, second = printed(run("show", name))
    assert first == {"id": "1-0", **TOLD, "deliveries": 5, "entry_id": "1-1", "entry": {"price": "5"}}
    assert second["id"] == "2-0"


def test_show_of_frames_gives_their_beginning(run: Run, filled: redis.Redis) -> None:
    assert printed(run("show", "ingest")) == [
        {"id": "7-0", "source": "ws://x", "reason": "no JSON", "frame": "{", "size": 1}
    ]


def test_show_can_be_narrowed(run: Run, filled: redis.Redis) -> None:
    assert [row["id"] for row in printed(run("show", "g", "1-0"))] == ["1-0"]
    newest = run("show", "g", "-n", "1")
    assert [row["id"] for row in printed(newest)] == ["2-0"]
    assert "the last 1 of 2" in newest.stderr


def test_retry_gives_entries_back_to_their_group(run: Run, filled: redis.Redis) -> None:
    (row,) = printed(run("retry", "g", "2-0", "-y"))
    assert row == {"id": "2-0", "stream": "trades:A", "entry_id": "2-1", "retried": True, "why": ""}
    assert (letters(filled), pending(filled)) == (["1-0"], ["2-1"])


def test_retry_that_cannot_be_is_exit_3_with_the_reason(run: Run, filled: redis.Redis) -> None:
    filled.xdel("trades:A", "1-1")
    trimmed, back = printed(run("retry", "g", "--all", "-y"), code=3)
    assert (trimmed["retried"], trimmed["why"]) == (False, "trades:A was trimmed, and the entry is gone")
    assert back["retried"]
    assert (letters(filled), pending(filled)) == (["1-0"], ["2-1"])


def test_retry_of_what_a_saved_state_has_passed_is_exit_3_and_changes_nothing(run: Run, filled: redis.Redis) -> None:
    filled.hset("state:g:trades:A", "upto", "3-1")
    refused = printed(run("retry", "g", "--all", "-y"), code=3)
    why = "the state of g on trades:A goes up to 3-1, so the entry would be skipped"
    assert [(row["retried"], row["why"]) for row in refused] == [(False, why)] * 2
    assert (letters(filled), pending(filled)) == (["1-0", "2-0"], [])


def test_frames_cannot_be_retried(run: Run, filled: redis.Redis) -> None:
    result = run("retry", "ingest", "--all", "-y")
    assert result.exit_code == 2
    assert "never were entries" in result.stderr


def test_drop_deletes_those_that_are_named(run: Run, filled: redis.Redis) -> None:
    assert printed(run("drop", "g", "1-0", "-y")) == [{"group": "g", "dropped": 1}]
    assert letters(filled) == ["2-0"]
    assert printed(run("drop", "ingest", "--all", "-y")) == [{"group": "ingest", "dropped": 1}]
    assert letters(filled, "dlq:ingest") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "x"), "dlq:x holds no dead letters"),
        (("show", "ingset"), 'did you mean "ingest"?'),
        (("show", "g", "9-0"), 'no dead letter "9-0" in dlq:g'),
        (("retry", "g", "1-0", "9-0", "-y"), 'no dead letter "9-0" in dlq:g'),
        (("drop", "x", "--all", "-y"), "dlq:x holds no dead letters"),
    ],
)
def test_no_such_letter_is_exit_4_and_changes_nothing(
    run: Run, filled: redis.Redis, words: tuple[str, ...], message: str
) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout) == (4, "")
    assert message in result.stderr
    assert (letters(filled), pending(filled)) == (["1-0", "2-0"], [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("retry", "g", "-y"), "say which letters"),
        (("drop", "g", "-y"), "say which letters"),
        (("drop", "g", "1-0", "--all", "-y"), "say which letters"),
        (("drop", "g", "1", "-y"), "not the id of a letter"),
        (("drop", "g", "--all"), "--yes"),
        (("retry", "g", "--all"), "--yes"),
    ],
)
def test_wrong_use_is_exit_2_and_changes_nothing(
    run: Run, filled: redis.Redis, words: tuple[str, ...], message: str
) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert (letters(filled), pending(filled)) == (["1-0", "2-0"], [])


@pytest.mark.parametrize("ids", [(), ("1-0",)], ids=["list", "in full"])
def test_what_a_letter_holds_cannot_steer_a_terminal(
    run: Run, server: redis.Redis, monkeypatch: pytest.MonkeyPatch, ids: tuple[str, ...]
) -> None:
    evil = "a\x1b[2J\x9b31m\u202eb"
    server.xadd("dlq:g", {**TOLD, "entry_id": "1-1", "error": evil, f"entry.{evil}": evil}, id="1-0")
    monkeypatch.setattr(render, "chosen", lambda output, *, stream=False: Output.TABLE)
    result = run("show", "g", *ids)
    assert "a[2J31mb" in result.stdout
    assert not {letter for letter in result.stdout if letter != "\n" and not letter.isprintable()}


def test_long_lists_are_cut_on_a_terminal_and_say_so(
    run: Run, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dlq, "_SHOWN", 2)
    monkeypatch.setattr(render, "chosen", lambda output, *, stream=False: Output.TABLE)
    for number in range(1, 6):
        server.xadd("dlq:g", {**TOLD, "entry_id": f"{number}-1"}, id=f"{number}-0")
    result = run("show", "g")
    assert len(result.stdout.splitlines()) == 3
    assert "the last 2 of 5" in result.stderr
