"""Sinks that print to stdout: records as the entries they would be, and entries as they are."""

import sys
from collections.abc import Sequence

from cryptostream.bus.pack import Entries
from cryptostream.cli import entries, render
from cryptostream.engine.stats import PublisherStats
from cryptostream.model.events import DeadLetter, Entry, LedgerRecord, Record
from cryptostream.model.ports import Sink


class Printer(Sink):
    """Writes records as JSON lines, flushed once a batch; the ledger and frames nobody could read are left out."""

    def __init__(self, stats: PublisherStats) -> None:
        self._stats = stats
        self._entries = Entries()
        self._text = entries.json_lines(())

    async def write(self, events: Sequence[Record]) -> None:
        """Print a batch. Raises BrokenPipeError once nobody reads."""
        made = [self._entries(record) for record in events if not isinstance(record, DeadLetter | LedgerRecord)]
        _print(self._text(made))
        self._stats.published += len(made)


class Console(Sink):
    """Prints entries: aligned columns on a terminal, JSON lines on a pipe."""

    def __init__(self) -> None:
        console = render.out()
        in_colour = console.color_system is not None and not console.no_color
        self._text = entries.Table((), colour=in_colour) if console.is_terminal else entries.json_lines(())

    async def write(self, events: Sequence[Entry]) -> None:
        """Print a batch. Raises BrokenPipeError once nobody reads."""
        _print(self._text(events))


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
