import asyncio
import socket

import hiredis
import pytest
import redis.exceptions as redis_errors
from redis.asyncio.connection import DefaultParser
from redis.asyncio.sentinel import MasterNotFoundError

from cryptostream.bus.translate import translate, translate_reply
from cryptostream.errors import BusRefused, BusUnavailable

URL = "redis://user:hunter2canary@db:6379"

REPLIES = {
    "WRONGPASS invalid username-password pair or user is disabled.": (BusRefused, "refuses the user or the password"),
    "NOAUTH Authentication required.": (BusRefused, "asks for a password"),
    "NOPERM this user has no permissions to run the 'xadd' command": (BusRefused, "run the 'xadd' command"),
    "WRONGTYPE Operation against a key holding the wrong kind": (BusRefused, "trades:BTCUSDT on .* is not a stream"),
    "MOVED 3999 127.0.0.1:6381": (BusRefused, "a Redis Cluster"),
    "ASK 3999 127.0.0.1:6381": (BusRefused, "a Redis Cluster"),
    "DENIED Redis is running in protected mode": (BusRefused, "protected mode"),
    "ERR DB index is out of range": (BusRefused, "no such database"),
    "ERR Client sent AUTH, but no password is set": (BusRefused, "has no password and was sent one"),
    "ERR AUTH <password> called without any password configured for the default user.": (BusRefused, "has no password"),
    "ERR unknown command 'XAUTOCLAIM', with args beginning with: 'a'": (BusRefused, "too old"),
    "ERR syntax error": (BusRefused, "refuses: ERR syntax error"),
    "ERR max number of clients reached": (BusUnavailable, "no connection left"),
    "LOADING Redis is loading the dataset in memory": (BusUnavailable, "loading its data"),
    "BUSY Redis is busy running a script.": (BusUnavailable, "busy with a script"),
    "OOM command not allowed when used memory > 'maxmemory'.": (BusUnavailable, "out of memory"),
    "READONLY You can't write against a read only replica.": (BusUnavailable, "read-only replica"),
    "MISCONF Redis is configured to save RDB snapshots": (BusUnavailable, "cannot save to disk"),
    "CLUSTERDOWN The cluster is down": (BusUnavailable, "a cluster that is down"),
    "MASTERDOWN Link with MASTER is down": (BusUnavailable, "lost its primary"),
    "ERR This instance has cluster support disabled": (BusRefused, "is no Redis Cluster"),
    "TRYAGAIN Multiple keys request during rehashing": (BusUnavailable, "moving data"),
}


@pytest.mark.parametrize(("text", "expected"), REPLIES.items())
def test_each_error_reply_has_its_own_words(text: str, expected: tuple[type[Exception], str]) -> None:
    kind, words = expected
    told = translate_reply(hiredis.ReplyError(text), URL, key="trades:BTCUSDT")
    with pytest.raises(kind, match=words):
        raise told
    assert "hunter2canary" not in str(told)


@pytest.mark.parametrize("text", REPLIES)
def test_redis_py_and_the_raw_reply_tell_the_same(text: str) -> None:
    raised = DefaultParser.parse_error(text)
    told, raw = translate(raised, URL), translate_reply(text, URL)
    assert (type(told), str(told), told.hint) == (type(raw), str(raw), raw.hint)


@pytest.mark.parametrize("text", REPLIES)
def test_a_refusal_in_a_pipeline_is_told_like_any_other(text: str) -> None:
    raised = DefaultParser.parse_error(text)
    raised.args = (f"Command # 1 (XADD s * a hunter2canary) of pipeline caused error: {raised.args}",)
    told = translate(raised, URL)
    assert str(told) == str(translate_reply(text, URL))


def test_the_arguments_of_an_unknown_command_are_not_repeated() -> None:
    told = translate_reply("ERR unknown command 'AUTH', with args beginning with: 'hunter2canary'", URL)
    assert "hunter2canary" not in str(told)


LOST = {
    "nothing listens there": ConnectionRefusedError(111, "refused"),
    "there is no such socket": FileNotFoundError(2, "no such file"),
    "its name cannot be resolved": socket.gaierror(-2, "Name or service not known"),
    "timed out": TimeoutError(),
    "the connection was lost": ConnectionResetError(104, "reset"),
}


@pytest.mark.parametrize(("words", "error"), LOST.items())
def test_a_lost_way_is_told_by_its_cause_whoever_wrapped_it(words: str, error: OSError) -> None:
    wrapped = redis_errors.ConnectionError("Error connecting")
    wrapped.__context__ = error
    for told in (translate(error, URL), translate(wrapped, URL)):
        assert isinstance(told, BusUnavailable)
        assert str(told) == f"no answer from redis://***@db:6379: {words}"


def test_a_stream_that_ends_midway_is_a_lost_connection() -> None:
    assert isinstance(translate(asyncio.IncompleteReadError(b"", 5), URL), BusUnavailable)


def test_a_read_that_timed_out_in_redis_py_says_so() -> None:
    assert str(translate(redis_errors.TimeoutError("Timeout reading"), URL)).endswith("timed out")


def test_a_socket_of_another_user_is_refused() -> None:
    assert isinstance(translate(PermissionError(13, "denied"), "unix:///run/x.sock"), BusRefused)


def test_silence_on_a_tls_url_asks_about_tls() -> None:
    assert "TLS" in translate(TimeoutError(), "rediss://db:6379").hint


@pytest.mark.parametrize("text", ["MOVED 3999 127.0.0.1:6381", "ASK 3999 127.0.0.1:6381", "CROSSSLOT Keys in request"])
def test_a_node_of_a_cluster_says_what_to_write_instead(text: str) -> None:
    assert translate_reply(text, "redis://db").hint == "use redis+cluster://host:port"


def test_sentinels_that_know_no_master_can_be_waited_for() -> None:
    told = translate(MasterNotFoundError("No master found for 'market'"), "redis+sentinel://db/market")
    assert isinstance(told, BusUnavailable)
    assert "no sentinel of redis+sentinel://db/market knows its master" in str(told)
