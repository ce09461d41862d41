"""`cryptostream groups` as a person types it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner, Result

from cryptostream.cli import groups, main

Run = Callable[..., Result]


@pytest.fixture
def run(bus_url: str, tmp_path: Path) -> Run:
    def invoke(*words: str) -> Result:
        options = ["--redis", bus_url, "--data-dir", str(tmp_path / "data")]
        return CliRunner().invoke(main.app, ["groups", *words, *options])

    return invoke


@pytest.fixture
def at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that read a moment ago count as gone."""
    monkeypatch.setattr(groups, "_ACTIVE_MS", 0)


def put(server: redis.Redis, stream: str, *numbers: int) -> None:
    for number in numbers:
        server.xadd(stream, {"n": number}, id=f"{number}-1")


def read(server: redis.Redis, stream: str, group: str, member: str, count: int) -> None:
    server.xreadgroup(group, member, {stream: ">"}, count=count)


@pytest.fixture
def filled(server: redis.Redis) -> redis.Redis:
    """Two streams of five entries: `rec` is on both, and `one` holds three of the first."""
    for stream in ("trades:A", "trades:B"):
        put(server, stream, 1, 2, 3, 4, 5)
        server.xgroup_create(stream, "rec", "0")
    read(server, "trades:A", "rec", "one", 3)
    return server


def printed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_ls_sums_each_group_up(run: Run, filled: redis.Redis) -> None:
    filled.xgroup_create("trades:B", "late", "5-1")
    assert printed(run("ls")) == [
        {"group": "late", "streams": 1, "members": 0, "pending": 0, "lag": 0, "lost": 0},
        {"group": "rec", "streams": 2, "members": 1, "pending": 3, "lag": 7, "lost": 0},
    ]


def test_ls_of_a_group_shows_it_by_stream(run: Run, filled: redis.Redis) -> None:
    first, second = printed(run("ls", "rec"))
    assert first == {
        "group": "rec",
        "stream": "trades:A",
        "members": 1,
        "pending": 3,
        "lag": 2,
        "lost": 0,
        "last_delivered": "3-1",
    }
    assert (second["stream"], second["lag"]) == ("trades:B", 5)


def test_members_are_listed_by_stream(run: Run, filled: redis.Redis) -> None:
    (member,) = printed(run("ls", "--members"))
    assert member.pop("idle_s") < 60
    assert member == {"group": "rec", "stream": "trades:A", "member": "one", "pending": 3}


def test_nothing_there_is_an_empty_list(run: Run) -> None:
    assert printed(run("ls")) == []
    assert run("ls", "-o", "csv").stdout.strip() == "group,streams,members,pending,lag,lost"


@pytest.mark.parametrize(
    "words",
    [("ls", "rce"), ("pending", "rce"), ("reset", "rce", "--to", "new", "-y"), ("rm", "rce", "-y")],
)
def test_no_such_group_is_exit_4_with_a_hint(run: Run, filled: redis.Redis, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout) == (4, "")
    assert 'no group "rce"' in result.stderr
    assert 'did you mean "rec"?' in result.stderr


def test_no_such_stream_is_exit_4(run: Run, filled: redis.Redis) -> None:
    result = run("pending", "rec", "trades:C")
    assert result.exit_code == 4
    assert 'no stream "trades:C"' in result.stderr


def test_group_that_is_not_on_the_named_stream_is_exit_4(run: Run, filled: redis.Redis) -> None:
    put(filled, "klines:A:1m", 1)
    result = run("reset", "rec", "klines:*", "--to", "new", "-y")
    assert result.exit_code == 4
    assert 'no group "rec" on klines:*' in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("create", "new", "trades:A"),
        ("reset", "rec", "--to", "new"),
        ("reset", "rec", "--state"),
        ("claim", "rec", "--to", "two"),
        ("rm", "rec", "--force"),
    ],
)
def test_writes_without_a_terminal_and_without_yes_are_wrong_use(
    run: Run, filled: redis.Redis, words: tuple[str, ...]
) -> None:
    before = [filled.xinfo_groups(stream) for stream in ("trades:A", "trades:B")]
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--yes" in result.stderr
    assert [filled.xinfo_groups(stream) for stream in ("trades:A", "trades:B")] == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("reset", "rec", "-y"), "nothing to reset"),
        (("reset", "rec", "--to", "yesterday", "-y"), "not a time"),
        (("create", "a b", "trades:A", "-y"), "not a name"),
        (("create", "new", "trades:\x1b", "--mkstream", "-y"), "not a name"),
        (("claim", "rec", "-y"), "names no member"),
        (("claim", "rec", "--to", "*", "-y"), "not a name"),
        (("pending", "rec", "--idle", "long"), "not a duration"),
        (("pending", "rec", ","), "names no stream"),
    ],
)
def test_wrong_use_is_exit_2_with_the_reason(
    run: Run, filled: redis.Redis, words: tuple[str, ...], message: str
) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_create_makes_a_group_where_it_is_missing_and_says_where_it_was(run: Run, filled: redis.Redis) -> None:
    filled.xgroup_create("trades:A", "new", "4-1", entries_read=4)
    result = run("create", "new", "trades:*", "--from", "3-1", "-y")
    found = [(row["stream"], row["created"], row["last_delivered"], row["lag"]) for row in printed(result)]
    assert found == [("trades:A", False, "4-1", 1), ("trades:B", True, "3-0", 3)]
    assert "1 stream before and stays where it was" in result.stderr


def test_create_of_a_stream_that_is_not_there_needs_mkstream(run: Run, server: redis.Redis) -> None:
    assert run("create", "new", "trades:A", "-y").exit_code == 4
    assert server.exists("trades:A") == 0
    (row,) = printed(run("create", "new", "trades:A", "--mkstream", "-y"))
    assert (row["created"], server.xlen("trades:A")) == (True, 0)


@pytest.mark.parametrize(("to", "lag"), [("earliest", 5), ("new", 0), ("4-1", 2), ("(4-1", 1)])
def test_reset_moves_a_group_and_keeps_what_is_pending(
    run: Run, filled: redis.Redis, at_rest: None, to: str, lag: int
) -> None:
    (row,) = printed(run("reset", "rec", "trades:A", "--to", to, "-y"))
    assert (row["lag"], row["pending"]) == (lag, 3)
    assert filled.xinfo_groups("trades:B")[0]["last-delivered-id"] == "0-0"


def test_reset_of_state_drops_it_and_moves_nothing(run: Run, filled: redis.Redis, at_rest: None) -> None:
    filled.hset("state:rec:trades:A", mapping={"token": "t", "upto": "3-1", "state": "x"})
    first, second = printed(run("reset", "rec", "--state", "-y"))
    assert (first["state_dropped"], first["last_delivered"]) == (True, "3-1")
    assert not second["state_dropped"]
    assert "upto" not in filled.hgetall("state:rec:trades:A")


@pytest.mark.parametrize("words", [("reset", "rec", "--to", "new"), ("reset", "rec", "--state"), ("rm", "rec")])
def test_group_is_left_alone_while_a_member_reads(run: Run, filled: redis.Redis, words: tuple[str, ...]) -> None:
    filled.xack("trades:A", "rec", "1-1", "2-1", "3-1")
    result = run(*words, "-y")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "one reads as rec now" in result.stderr
    assert filled.xinfo_groups("trades:A")[0]["last-delivered-id"] == "3-1"
    assert run(*words, "-y", "--force").exit_code == 0


def test_pending_lists_who_holds_what(run: Run, filled: redis.Redis) -> None:
    rows = printed(run("pending", "rec"))
    assert [(row["stream"], row["entry_id"], row["member"], row["deliveries"]) for row in rows] == [
        ("trades:A", "1-1", "one", 1),
        ("trades:A", "2-1", "one", 1),
        ("trades:A", "3-1", "one", 1),
    ]


def test_pending_can_be_narrowed(run: Run, filled: redis.Redis) -> None:
    read(filled, "trades:B", "rec", "two", 2)
    assert [row["entry_id"] for row in printed(run("pending", "rec", "--member", "two"))] == ["1-1", "2-1"]
    assert printed(run("pending", "rec", "--idle", "1h")) == []
    limited = run("pending", "rec", "-n", "4")
    assert [row["stream"] for row in printed(limited)] == ["trades:A"] * 3 + ["trades:B"]
    assert "the first 4" in limited.stderr


def test_claim_hands_entries_over(run: Run, filled: redis.Redis, at_rest: None) -> None:
    read(filled, "trades:B", "rec", "two", 1)
    rows = printed(run("claim", "rec", "--to", "two", "--idle", "0s", "-y"))
    assert rows == [{"stream": "trades:A", "claimed": 3, "trimmed": 0, "elsewhere": 0}]
    assert {row["member"] for row in printed(run("pending", "rec"))} == {"two"}


def test_claim_for_a_member_at_work_is_refused_for_it_would_never_look(run: Run, filled: redis.Redis) -> None:
    read(filled, "trades:A", "rec", "two", 1)
    result = run("claim", "rec", "--to", "two", "--idle", "0s", "-y")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "two reads as rec now" in result.stderr
    assert len(printed(run("pending", "rec", "--member", "one"))) == 3
    assert run("claim", "rec", "--to", "two", "--idle", "0s", "-y", "--force").exit_code == 0


def test_claim_leaves_alone_what_was_delivered_just_now(run: Run, filled: redis.Redis) -> None:
    assert printed(run("claim", "rec", "--to", "two", "-y")) == []
    assert {row["member"] for row in printed(run("pending", "rec"))} == {"one"}


def test_rm_is_refused_while_entries_are_pending(run: Run, filled: redis.Redis, at_rest: None) -> None:
    result = run("rm", "rec", "-y")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "rec holds 3 pending on 1 stream" in result.stderr
    assert len(filled.xinfo_groups("trades:B")) == 1


def test_rm_removes_a_group_with_its_state(run: Run, filled: redis.Redis, at_rest: None) -> None:
    filled.xack("trades:A", "rec", "1-1", "2-1", "3-1")
    filled.hset("state:rec:trades:A", mapping={"token": "t", "upto": "3-1"})
    assert printed(run("rm", "rec", "-y")) == [
        {"group": "rec", "stream": "trades:A", "pending": 0, "state_dropped": True},
        {"group": "rec", "stream": "trades:B", "pending": 0, "state_dropped": False},
    ]
    assert sorted(filled.scan_iter()) == ["trades:A", "trades:B"]
    assert filled.xinfo_groups("trades:A") == []


def test_rm_of_named_streams_leaves_the_others(run: Run, filled: redis.Redis, at_rest: None) -> None:
    filled.hset("state:rec:trades:A", mapping={"token": "t", "upto": "3-1"})
    assert len(printed(run("rm", "rec", "trades:B", "-y"))) == 1
    assert len(filled.xinfo_groups("trades:A")) == 1
    assert filled.exists("state:rec:trades:A") == 1
