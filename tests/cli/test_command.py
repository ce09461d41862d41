"""What every command shares: exit codes, errors in one line, interrupts and closed pipes."""

import asyncio
import errno
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cryptostream import errors
from cryptostream.cli import command as command_module
from cryptostream.cli.command import Call, command, with_errors
from cryptostream.engine.runtime import Runtime
from cryptostream.testing import ManualClock


def ended(work: object) -> int:
    """The exit code that a piece of work ends with."""
    with pytest.raises(typer.Exit) as caught:
        with_errors(work)  # type: ignore[arg-type]
    return caught.value.exit_code


def failing(error: BaseException) -> object:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.CryptostreamError("x"), 1),
        (errors.UsageError("x"), 2),
        (errors.CheckFailed("x"), 3),
        (errors.NotFound("x"), 4),
        (errors.BusUnavailable("x"), 5),
        (errors.VenueUnavailable("x"), 5),
        (errors.DataQuality("x"), 6),
        (errors.ConfigError("x"), 78),
        (errors.BusRefused("x"), 78),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_each_error_ends_with_the_contracts_code(error: BaseException, code: int) -> None:
    assert ended(failing(error)) == code


def test_a_number_that_work_returns_is_the_exit_code() -> None:
    assert [ended(lambda: 130), ended(lambda: None)] == [130, 0]


def test_of_several_errors_our_own_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    group = BaseExceptionGroup(
        "g", [OSError("theirs"), BaseExceptionGroup("h", [errors.NotFound("ours", hint="look")])]
    )
    assert ended(failing(group)) == 4
    assert capsys.readouterr().err.splitlines() == ["error: ours", "hint: look"]


def test_a_mistake_of_ours_is_one_line_and_a_traceback_only_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(failing(ZeroDivisionError("oh"))) == 1
    assert capsys.readouterr().err.splitlines()[0] == "error: ZeroDivisionError: oh"
    with pytest.raises(ZeroDivisionError):
        with_errors(failing(ZeroDivisionError("oh")), debug=True)  # type: ignore[arg-type]


def test_no_secret_and_no_control_character_leaves_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    ended(failing(errors.Unreachable("redis://u:canary@h is \x1b[31mgone", hint="?api_key=canary")))
    told = capsys.readouterr().err
    assert "canary" not in told
    assert "\x1b" not in told


def test_every_command_takes_the_options_of_the_contract() -> None:
    group = typer.Typer()
    seen: list[Call] = []

    @command("look", group=group)
    def look(call: Call, what: str) -> None:
        seen.append(call)

    @command("other", group=group)
    async def other(call: Call) -> int:
        seen.append(call)
        return 3

    words = [
        "x",
        "-c",
        "a.yaml",
        "-c",
        "b.yaml",
        "--set",
        "a.b=c",
        "--redis",
        "redis://h",
        "--data-dir",
        "d",
        "-vv",
        "-q",
    ]
    assert CliRunner().invoke(group, ["look", *words, "--log-format", "json", "--debug"]).exit_code == 0
    assert [path.name for path in seen[0].config] == ["a.yaml", "b.yaml"]
    assert (seen[0].set, seen[0].redis, seen[0].verbose, seen[0].quiet) == (["a.b=c"], "redis://h", 2, True)
    assert CliRunner().invoke(group, ["other"]).exit_code == 3
    assert CliRunner().invoke(group, ["look", "x", "--log-format", "nonsense"]).exit_code == 2


def terminate() -> None:
    assert callable(signal.getsignal(signal.SIGTERM)), "nobody listens: it would end pytest"
    signal.raise_signal(signal.SIGTERM)


async def read_for_ever() -> None:
    async with asyncio.timeout(5):
        await asyncio.Event().wait()


async def read_past_a_lost_cancellation() -> None:
    """As redis-py does before Python 3.12."""
    with suppress(asyncio.CancelledError):
        await read_for_ever()
    await read_for_ever()


@pytest.mark.parametrize("loop", [None, asyncio.new_event_loop], ids=["the fastest loop", "asyncio's own"])
@pytest.mark.parametrize("reading", [read_for_ever, read_past_a_lost_cancellation])
def test_sigterm_ends_a_command_in_order_and_is_no_failure(
    reading: Callable[[], Coroutine[Any, Any, None]], loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(command_module, "_AGAIN_S", 0.01)
    if loop is not None:
        monkeypatch.setattr(command_module, "_loop_factory", lambda: loop)

    async def work() -> int:
        asyncio.get_running_loop().call_soon(terminate)
        try:
            await reading()
        finally:
            closed.append("the bus")
        return 1

    before = signal.getsignal(signal.SIGTERM)
    assert ended(lambda: command_module.finish(work())) == 0
    assert closed == ["the bus"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_while_a_runtime_ends_is_no_failure_either() -> None:
    async def work() -> int:
        code = await Runtime([], clock=ManualClock()).run()
        terminate()
        await read_for_ever()
        return code

    assert ended(lambda: command_module.finish(work())) == 0


def test_a_cancellation_that_no_signal_asked_for_is_not_taken_for_one() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        command_module.finish(work())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "error: cannot write to stdout: No space left on device"),
        (OSError(errno.ENOSPC, "No space left on device", "a.jsonl"), "error: OSError: [Errno 28]"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "error: ConnectionRefusedError"),
    ],
)
def test_only_a_full_stdout_is_told_as_one(
    error: OSError, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_module, "_write_nothing_more", lambda: None)
    assert ended(failing(error)) == 1
    assert capsys.readouterr().err.startswith(told)
