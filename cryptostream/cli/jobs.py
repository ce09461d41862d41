"""Work shared out over processes: results in the order of the tasks, and nobody left behind."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from cryptostream.errors import CryptostreamError

T = TypeVar("T")
R = TypeVar("R")
_AHEAD = 2
"""Tasks handed out for each process: enough that none waits, few enough that a stop is quick."""


def _silent(_done: int, _total: int) -> None:
    """Tells nobody."""


def run_all(
    jobs: int, tasks: Sequence[T], worker: Callable[[T], R], progress: Callable[[int, int], None] = _silent
) -> list[R]:
    """What the worker makes of each task, in the order of the tasks whoever finishes first.

    `progress` is told how many are done, of how many. One job or one task runs in this process; else the worker and
    the tasks are pickled. What a worker raises is raised here, and Ctrl-C too: the rest is then cut off at once.
    Raises CryptostreamError where a process died.
    """
    jobs = min(jobs, len(tasks))
    progress(0, len(tasks))
    if jobs > 1:
        return _over_processes(jobs, tasks, worker, progress)
    results = []
    for task in tasks:
        results.append(worker(task))
        progress(len(results), len(tasks))
    return results


def _over_processes(
    jobs: int, tasks: Sequence[T], worker: Callable[[T], R], progress: Callable[[int, int], None]
) -> list[R]:
    results: dict[int, R] = {}
    try:
        with _pool(jobs) as pool:
            waiting: dict[Future[R], int] = {}
            left = iter(enumerate(tasks))
            while len(results) < len(tasks):
                for number, task in left:
                    waiting[pool.submit(worker, task)] = number
                    if len(waiting) >= _AHEAD * jobs:
                        break
                done = wait(waiting, return_when=FIRST_COMPLETED).done
                for future in sorted(done, key=waiting.__getitem__):
                    results[waiting.pop(future)] = future.result()
                    progress(len(results), len(tasks))
    except BrokenProcessPool as error:
        raise CryptostreamError("a process of the pool died", hint="too little memory? try fewer --jobs") from error
    return [results[number] for number in range(len(tasks))]


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end at once when this one leaves early or dies, kill -9 included.

    Each reads from a pipe in which nothing is ever written, and whose other end only this process holds.
    """
    context = get_context("spawn")  # a fork would copy the threads' locks without the threads
    reader, lifeline = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(reader,))
    try:
        yield pool
    except BaseException:
        lifeline.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        lifeline.close()
        reader.close()


def _begin(lifeline: "Connection[Any, Any]") -> None:
    """What each process does first. Ctrl-C reaches the whole group: the first process says what becomes of it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: "Connection[Any, Any]") -> None:
    try:
        lifeline.recv_bytes()
    finally:
        os._exit(1)
