"""How the program ends when the world around it does: signals, as a container's first process too, and no stdout."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import Exchange, Run, Start

In = Callable[[str], subprocess.CompletedProcess[str]]
PROGRAM = [sys.executable, "-m", "cryptostream"]


@pytest.fixture
def filled(held_bus: None, exchange: Exchange, run: Run) -> None:
    """An embedded bus with some trades in it."""
    assert run("ingest", "--symbols", "BTCUSDT", "--max-messages", "5", env=exchange.env).returncode == 0


@pytest.fixture
def shell(environment: dict[str, str]) -> In:
    """Run a line in which `@` is the program."""

    def line(text: str) -> subprocess.CompletedProcess[str]:
        whole = text.replace("@", shlex.join(PROGRAM))
        return subprocess.run(["bash", "-c", whole], env=environment, capture_output=True, text=True, timeout=30)

    return line


@pytest.fixture
def first_process(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the program as process 1 of a PID namespace, as a container does; skipped where that is not permitted."""
    alone = ["unshare", "--pid", "--fork", "--kill-child"]
    try:
        subprocess.run([*alone, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no PID namespace of our own: {error}")
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen([*alone, *PROGRAM, *arguments], env=environment, text=True, **piped))  # type: ignore[call-overload]
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        with suppress(ValueError):
            process.communicate(timeout=10)


def child_of(process: subprocess.Popen[str]) -> int:
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code and what was told on stderr, within the ten seconds of a drain."""
    _, told = process.communicate(timeout=10)
    return process.returncode, told


def test_sigterm_ends_a_tail_that_follows(filled: None, start: Start) -> None:
    process = start("tail", "-q", "trades:BTCUSDT")
    assert json.loads(first_line(process))["stream"] == "trades:BTCUSDT"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, "")


def test_the_first_process_of_a_container_hears_sigterm(
    filled: None, first_process: Callable[..., subprocess.Popen[str]]
) -> None:
    process = first_process("tail", "-q", "trades:BTCUSDT")
    assert first_line(process)
    os.kill(child_of(process), signal.SIGTERM)
    assert ended(process) == (0, "")


SIGNALLED = """
import os, sys
from cryptostream.__main__ import main

class Signals:
    def find_spec(self, name, path, target=None):
        if name == whom:
            os.kill(os.getpid(), int(number))

_, whom, number = sys.argv
sys.argv[1:] = ["tail", "trades:BTCUSDT", "--wait"]
sys.meta_path.insert(0, Signals())
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("while_importing", ["typer", "cryptostream.wiring"])
def test_a_signal_during_the_imports_ends_in_silence(
    while_importing: str, number: signal.Signals, code: int, environment: dict[str, str]
) -> None:
    told = [sys.executable, "-c", SIGNALLED, while_importing, str(int(number))]
    done = subprocess.run(told, env=environment, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


NO_ROOM = "error: cannot write to stdout: No space left on device\n"


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("@ list venues >&-", 0, ""),
        ("@ list venues 2>&-", 0, ""),
        ("@ list venues <&- >&- 2>&-", 0, ""),
        ("@ tail nothing --no-follow <&- 2>&-", 4, ""),
        ("@ list venues >/dev/full", 1, NO_ROOM),
        ("@ --help >/dev/full", 1, NO_ROOM),
        ("@ list venues | true; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
def test_streams_that_take_nothing_are_no_accident(shell: In, line: str, code: int, told: str) -> None:
    done = shell(line)
    assert (done.returncode, done.stderr) == (code, told)


def test_entries_that_nobody_can_take_are_no_accident_either(filled: None, shell: In) -> None:
    closed, full = shell("@ tail -q trades:BTCUSDT --no-follow >&-"), shell("@ tail -q trades:BTCUSDT >/dev/full")
    assert (closed.returncode, closed.stderr) == (0, "")
    assert (full.returncode, full.stderr) == (1, NO_ROOM)
