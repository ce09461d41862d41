"""A bar on a terminal while something long is under way: how much of how much."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cryptostream.cli import render

Seen = Callable[[int, int], None]
"""Told how much is done, of how much."""


@contextmanager
def advancing(what: str) -> Iterator[Seen]:
    """Draws a bar on stderr, if that is a terminal; gives what is to be told."""
    console = render.err()
    if not console.is_terminal:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
