"""While something long is under way, how much of how much: a bar on a terminal, lines for a program that watches."""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cryptostream.cli import render
from cryptostream.engine.clock import SystemClock

Seen = Callable[[int, int], None]
"""Told how much is done, of how much."""
_EVERY_S = 0.2
_BEHIND = 5
_is_watched = threading.Event()


def watched() -> None:
    """From now on tell progress as JSON lines on stderr, give way to other processes, and end when stdin ends.

    For a program that started this one and holds the other end of stdin: it may die without a word.
    """
    _is_watched.set()
    os.nice(_BEHIND)
    threading.Thread(target=_end_with_stdin, daemon=True).start()


def _end_with_stdin() -> None:
    try:
        while os.read(0, 4096):
            pass
    finally:
        os._exit(1)


@contextmanager
def advancing(what: str) -> Iterator[Seen]:
    """Draws a bar on stderr, if that is a terminal; gives what is to be told."""
    console = render.err()
    if _is_watched.is_set():
        yield _lines(what)
        return
    if not console.is_terminal:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _lines(what: str) -> Seen:
    clock, told_at = SystemClock(), float("-inf")

    def tell(done: int, total: int) -> None:
        nonlocal told_at
        now = clock.monotonic()
        if now - told_at < _EVERY_S:
            return
        told_at = now
        sys.stderr.write(f"{json.dumps({'doing': what, 'done': done, 'of': total})}\n")
        sys.stderr.flush()

    tell(0, 0)
    return tell
