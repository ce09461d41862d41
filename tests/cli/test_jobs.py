"""Work over processes: in order whoever is first, and nobody left when it ends early."""

import os
import signal
import subprocess
import sys

import pytest

from cryptostream.cli.jobs import run_all
from cryptostream.errors import CryptostreamError, DataQuality
from tests.cli import labour


def test_results_are_in_the_order_of_the_tasks() -> None:
    seen: list[tuple[int, int]] = []
    assert run_all(2, range(12), labour.squared, lambda *told: seen.append(told)) == [n * n for n in range(12)]
    assert seen == [(done, 12) for done in range(13)]


def test_one_job_runs_in_this_process() -> None:
    seen: list[tuple[int, int]] = []
    assert run_all(1, [3, 4], lambda number: (number, os.getpid()), lambda *told: seen.append(told)) == [
        (3, os.getpid()),
        (4, os.getpid()),
    ]
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_one_task_needs_no_other_process_and_no_task_none() -> None:
    assert run_all(8, [0], labour.where) == [os.getpid()]
    assert run_all(8, [], labour.where) == []


def test_what_a_worker_raises_ends_the_others_and_is_raised_here() -> None:
    with pytest.raises(DataQuality, match="the file is damaged") as raised:
        run_all(2, range(100), labour.failing)
    assert raised.value.hint == "fetch it again"


def test_interrupt_ends_work_that_is_never_done() -> None:
    def interrupted(done: int, _total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(2, range(100), labour.first_only, interrupted)


def test_process_that_dies_is_told() -> None:
    with pytest.raises(CryptostreamError, match="a process of the pool died") as raised:
        run_all(2, range(100), labour.dying)
    assert "--jobs" in raised.value.hint


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(number: int) -> None:
    parent = subprocess.Popen([sys.executable, labour.__file__], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout is not None
    with parent.stdout as told:
        assert sorted([told.readline(), told.readline()]) == [b"at work on 0\n", b"at work on 1\n"]
        parent.send_signal(number)
        told.read()  # ends when the last process that could write has ended
    assert parent.wait() != 0
