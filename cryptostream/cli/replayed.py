"""What a replay leaves behind: every entry once, their fingerprint, and an account of the work."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from cryptostream.cli import render
from cryptostream.cli.entries import Csv, Shown, Table
from cryptostream.cli.render import Output
from cryptostream.engine.stats import PublisherStats
from cryptostream.errors import UsageError
from cryptostream.model.codec import iso
from cryptostream.model.digest import Digest
from cryptostream.model.entryid import Rising
from cryptostream.model.events import Entry
from cryptostream.model.ports import Sink
from cryptostream.tape.play import EntryPlayer, FramePlayer


class Fingerprint(Sink):
    """Takes the digest of what streams that were empty would hold now: each entry once, under its name without prefix.

    `entry_of` makes the entry of a record; `shown`, where there is one, says how it is printed to stdout.
    """

    def __init__(self, entry_of: Callable[[Any], Entry], stats: PublisherStats, shown: Shown | None = None) -> None:
        self.digest = Digest()
        self._entry_of = entry_of
        self._stats = stats
        self._shown = shown
        self._rising = Rising()

    async def write(self, events: Sequence[Any]) -> None:
        """Take in a batch, and print what is new of it. Raises BrokenPipeError once nobody reads."""
        entries = [entry for event in events if self._rising.takes(entry := self._entry_of(event))]
        for entry in entries:
            self.digest.add(entry.stream, entry.entry_id, entry.fields)
        if self._shown is not None:
            sys.stdout.write(self._shown(entries))
            sys.stdout.flush()
            self._stats.published += len(entries)
            self._stats.duplicates += len(events) - len(entries)


def shown(output: Output, prefix: str = "") -> Shown:
    """How entries are printed: in columns on a terminal, JSON lines that can be replayed, or CSV.

    `prefix` goes before the names of their streams.

    Raises UsageError for one JSON answer: it would hold the whole tape.
    """
    kind = render.chosen(output, stream=True)
    if kind is Output.JSON:
        raise UsageError("-o json is one answer, and entries are a stream", hint="use -o jsonl")
    console = render.out()
    table = Table((), colour=console.color_system is not None and not console.no_color)
    shapes: dict[Output, Shown] = {Output.TABLE: table, Output.CSV: Csv(())}
    as_text = shapes.get(kind, _json_lines)
    return lambda batch: as_text([Entry(prefix + e.stream, e.entry_id, e.fields) for e in batch] if prefix else batch)


def _json_lines(batch: Sequence[Entry]) -> str:
    """Entries whole, with `raw_json` where they have it: replayed again they give the same digest."""
    return "".join(render.json_text({"stream": e.stream, "id": e.entry_id, **e.fields}) + "\n" for e in batch)


def account(
    player: FramePlayer | EntryPlayer, made: Fingerprint, stats: PublisherStats, elapsed_s: float
) -> dict[str, Any]:
    """The facts of a replay, finished or not.

    `skipped` counts bad lines and stretches of the tapes, `already_there` duplicates, on a tape or in a stream.
    """
    return {
        **_read(player),
        "skipped": player.left_out,
        "damaged_files": len(player.damage),
        "entries": made.digest.entries,
        "published": stats.published,
        "already_there": stats.duplicates,
        "refused": stats.refused,
        "first": _time(player.first),
        "last": _time(player.last),
        "elapsed_s": round(elapsed_s, 3),
        "rate_per_s": round(player.played / elapsed_s) if elapsed_s else None,
        "sha256": made.digest.hexdigest(),
    }


def _read(player: FramePlayer | EntryPlayer) -> dict[str, int]:
    if isinstance(player, EntryPlayer):
        return {"lines": player.played}
    return {"frames": player.played, "bad_frames": player.bad, "ignored_frames": player.ignored}


def _time(ns: int | None) -> str | None:
    return None if ns is None else f"{iso(ns // 1000)}Z"


_WORDS = {"rate_per_s": "rate", "elapsed_s": "took", "first": "recorded from", "last": "recorded until"}


def tell(facts: dict[str, Any], output: Output, *, aside: bool) -> None:
    """Print an account: to stdout as the output says, or `aside`, to stderr, where stdout carries the entries."""
    if facts["refused"]:
        render.note(
            f"{facts['refused']:,} entries are older than what their streams hold: replay them with --prefix test:"
        )
    if aside:
        console = render.err()
        console.print(_table(facts) if console.is_terminal else render.json_text(facts), soft_wrap=True, markup=False)
        return
    kind = render.chosen(output)
    if kind is Output.TABLE:
        render.out().print(_table(facts))
    elif kind is Output.JSON:
        render.answer(facts)
    else:
        render.rows([facts], kind)


def _table(facts: dict[str, Any]) -> Any:
    rows = [
        {"": _WORDS.get(name, name.replace("_", " ")), "replay": _cell(name, value)} for name, value in facts.items()
    ]
    table = render.table(rows, ["", "replay"])
    table.show_header = False
    return table


def _cell(name: str, value: Any) -> str:
    unit = {"elapsed_s": " s", "rate_per_s": "/s"}.get(name, "") if value is not None else ""
    return render.cell(value) + unit
