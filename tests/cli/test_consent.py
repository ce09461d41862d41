"""Asked on a terminal before something is changed; the terminal is a real one."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis


@pytest.fixture
def server(fake_redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(fake_redis_url, decode_responses=True, protocol=2) as client:
        client.xadd("dlq:g", {"error": "no"}, id="1-0")
        yield client


@contextmanager
def asked(url: str) -> Iterator[tuple[subprocess.Popen[bytes], int, str]]:
    """`dlq drop` on a terminal of its own, up to its question: the process, our end of the terminal, the text."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cryptostream", "dlq", "drop", "g", "--all", "--redis", url, "-o", "json"]
    environment = {**os.environ, "NO_COLOR": "1"}
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        try:
            text = ""
            while "[y/N]" not in text:
                text += os.read(ours, 4096).decode()
            yield process, ours, text
        finally:
            process.kill()
            os.close(ours)


@pytest.mark.parametrize("word", ["y", "Yes"])
def test_yes_goes_on(server: redis.Redis, fake_redis_url: str, word: str) -> None:
    with asked(fake_redis_url) as (process, terminal, question):
        assert "delete 1 dead letter of g?" in question
        os.write(terminal, f"{word}\n".encode())
        assert process.wait(20) == 0
    assert server.xlen("dlq:g") == 0


@pytest.mark.parametrize("typed", ["n\n", "\n", "yes please\n", "\x04"], ids=["no", "nothing", "other", "end of input"])
def test_anything_else_changes_nothing_and_is_exit_130(server: redis.Redis, fake_redis_url: str, typed: str) -> None:
    with asked(fake_redis_url) as (process, terminal, _):
        os.write(terminal, typed.encode())
        assert process.wait(20) == 130
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert server.xlen("dlq:g") == 1


def test_interrupt_is_heard_while_it_waits(server: redis.Redis, fake_redis_url: str) -> None:
    with asked(fake_redis_url) as (process, _, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert server.xlen("dlq:g") == 1
