"""How the outcome of a verification looks: one row a stream, what is missing, what differs, what was repaired."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from cryptostream.cli import render
from cryptostream.cli.against import Against, compared
from cryptostream.cli.render import Output
from cryptostream.cli.repair import Repaired
from cryptostream.errors import NotFound, Unreachable, UsageError
from cryptostream.model.codec import iso
from cryptostream.transforms.audit import Report, Spans, Tally

if TYPE_CHECKING:
    from rich.console import Console

_WORDS = {"holes": "missing", "duplicates": "twice", "disorder": "out of order"}
_ASK_REST = "compare them with the venue: --against https://..."
_SPANS_SHOWN = 20
_NO_BOUND = 10_000
_LESS = ((), ("from (UTC)", "to (UTC)"), ("first id", "last id"), ("entries",))
"""What a table leaves out, one after the other, until the names of streams have room."""
_COLUMNS = (
    *("stream", "proven", "kind", "entries", "first_id", "last_id", "first", "last", "gaps", "holes"),
    *("duplicates", "disorder", "malformed", "misplaced"),
)


class Outcome(msgspec.Struct):
    """All there is to say. `tolerated` are failures that are none where frames are replayed."""

    reports: list[Report]
    comparisons: list[dict[str, Any]] = []
    """As `against.compared` says them."""
    against: str = ""
    """What the streams were compared with, where they were."""
    repaired: list[Repaired] = []
    unreadable: int = 0
    """Lines and frames that nobody can read."""
    tolerated: frozenset[str] = frozenset()
    damage: str = ""
    """Why a recording ended before its end."""
    trouble: Unreachable | None = None
    """Why nothing could be repaired, although what was found stands."""

    def compare(self, against: Against | None) -> Self:
        """Take in a comparison, where there is one.

        Raises NotFound where it is about none of the streams, and UsageError where it cannot be about any.
        """
        if against is None:
            return self
        self.against, self.comparisons = against.account.name, compared(against)
        if not self.comparisons and against.account.bounded and {r.kind for r in self.reports} == {"klines"}:
            raise UsageError(f"{self.against} is a file of trades: klines cannot be compared with it", hint=_ASK_REST)
        if not self.comparisons:
            raise NotFound(f"{against.account.name} says nothing of {', '.join(r.stream for r in self.reports[:3])}")
        return self

    def failures(self, report: Report) -> dict[str, int]:
        """What keeps one stream from being proven."""
        return {name: count for name, count in report.failures.items() if name not in self.tolerated}

    @property
    def proven(self) -> bool:
        """Whether nothing is wrong; of what was repaired, whether nothing is wrong in the copy.

        What disagrees with the venue's account is no proof either way: it was compared as it was before the repair.
        """
        if self.damage or self.unreadable or self._disagreeing():
            return False
        if self.repaired:
            return all(done.whole for done in self.repaired)
        return not any(map(self.failures, self.reports))

    @property
    def not_compared(self) -> list[str]:
        """Streams that a comparison was asked for and says nothing of."""
        known = {found["stream"] for found in self.comparisons}
        return [report.stream for report in self.reports if self.against and report.stream not in known]

    def hint(self, *, on_tape: bool) -> str:
        """What can be done about what was found; empty for nothing."""
        names = {name for report in self.reports for name in self.failures(report)}
        names |= {name for found in self._disagreeing() for name in _disagreement(found)}
        told = ["--repair fetches what can be had"] if names & {"holes", "missing_here"} else []
        if names & {"duplicates", "disorder", "misplaced"}:
            told.append(
                f"{'--repair' if on_tape else '--repair --into PREFIX'} writes a copy in order, each entry once"
            )
        if names & {"malformed", "differing"}:
            told.append("entries that say something else than the venue cannot be repaired in place: record them anew")
        return "; ".join(told)

    def summary(self) -> str:
        """What is wrong, in one line."""
        accused = [report for report in self.reports if self.failures(report)]
        parts = [f"{report.stream}: {_counted(self.failures(report))}" for report in accused[:3]]
        parts += [f"{len(accused) - 3} more streams"] if len(accused) > 3 else []
        parts += [f"{found['stream']}: not what {found['against']} says" for found in self._disagreeing()[:3]]
        parts += [f"{done.into}: not whole" for done in self._not_whole() if not accused][:3]
        parts += [f"{self.unreadable:,} lines or frames cannot be read"] if self.unreadable else []
        parts += [self.damage] if self.damage else []
        return "; ".join(parts)

    def _disagreeing(self) -> list[dict[str, Any]]:
        return [found for found in self.comparisons if not found["agree"]]

    def _not_whole(self) -> list[Repaired]:
        return [done for done in self.repaired if not done.whole]


def _disagreement(found: Mapping[str, Any]) -> list[str]:
    """In what a comparison disagrees, by its name there."""
    counts = {name: found[name]["ids"] for name in ("missing_here", "missing_there")}
    return [name for name, count in {**counts, "differing": found["differing"]["count"]}.items() if count]


def _counted(failures: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {_WORDS.get(name, name)}" for name, count in failures.items())


def tell(outcome: Outcome, output: Output) -> None:
    """Print an outcome: tables on a terminal, one JSON answer on a pipe, else one row or line a stream."""
    kind = render.chosen(output)
    if kind is Output.TABLE:
        _table(outcome)
    elif kind is Output.CSV:
        render.rows([_flat(outcome, report) for report in outcome.reports], kind, columns=_COLUMNS)
    elif kind is Output.JSONL:
        for report in outcome.reports:
            render.line(_row(outcome, report))
    else:
        render.answer(answer(outcome))


def answer(outcome: Outcome) -> dict[str, Any]:
    """An outcome as one JSON answer."""
    return {
        "proven": outcome.proven,
        "unreadable": outcome.unreadable,
        **({"damage": outcome.damage} if outcome.damage else {}),
        "streams": [_row(outcome, report) for report in outcome.reports],
        **({"against": outcome.comparisons} if outcome.comparisons else {}),
        **({"repaired": msgspec.to_builtins(outcome.repaired)} if outcome.repaired else {}),
    }


def _row(outcome: Outcome, report: Report) -> dict[str, Any]:
    return {
        "stream": report.stream,
        "proven": not outcome.failures(report),
        **({"compared": report.stream not in outcome.not_compared} if outcome.against else {}),
        "kind": report.kind or "other",
        "rule": report.rule,
        "entries": report.entries,
        **({"closed" if report.kind == "klines" else "trades": report.facts} if report.kind else {}),
        "first_entry": report.first_entry,
        "last_entry": report.last_entry,
        "first_id": report.first_id,
        "last_id": report.last_id,
        "first": _time(report.first_ts),
        "last": _time(report.last_ts),
        "gaps": _spans(report.gaps),
        "holes": _spans(report.holes),
        **{name: msgspec.to_builtins(tally) for name, tally in _tallies(report).items()},
    }


def _flat(outcome: Outcome, report: Report) -> dict[str, Any]:
    counts = {name: tally.count for name, tally in _tallies(report).items()}
    return {**_row(outcome, report), "gaps": report.gaps.ids, "holes": report.holes.ids, **counts}


def _tallies(report: Report) -> dict[str, Tally]:
    return {name: getattr(report, name) for name in ("duplicates", "disorder", "malformed", "misplaced")}


def _spans(spans: Spans) -> dict[str, Any]:
    """`spans` holds the first ten thousand of them."""
    return {"count": spans.count, "ids": spans.ids, "spans": [list(span) for span in spans.first]}


def _time(ts: int | None) -> str | None:
    return None if ts is None else f"{iso(ts)}Z"


def _table(outcome: Outcome) -> None:
    console = render.out()
    rows = [_shown(outcome, report) for report in outcome.reports]
    console.print(_fitting(rows, console) if rows else "nothing to verify")
    for line in _details(outcome):
        console.print(render.safe(line), markup=False, soft_wrap=True)


def _fitting(rows: Sequence[Mapping[str, Any]], console: "Console") -> Any:
    """The fullest table that folds nothing; if none does, the shortest."""
    unbounded = console.options.update(width=_NO_BOUND)
    columns = list(rows[0])
    for left_out in _LESS:
        columns = [name for name in columns if name not in left_out]
        table = render.table(rows, columns)
        if console.measure(table, options=unbounded).maximum <= console.width:
            break
    return table


def _shown(outcome: Outcome, report: Report) -> dict[str, Any]:
    times = {"from (UTC)": report.first_ts, "to (UTC)": report.last_ts}
    return {
        "stream": report.stream,
        "verdict": "failed" if outcome.failures(report) else "proven",
        "entries": report.entries,
        "first id": _plain(report.first_id),
        "last id": _plain(report.last_id),
        **{name: (_time(ts) or "")[:19].replace("T", " ") for name, ts in times.items()},
        "gaps": report.gaps.ids,
        "holes": report.holes.ids,
        "wrong": sum(tally.count for tally in _tallies(report).values()),
    }


def _plain(number: int | None) -> str:
    """An id as one copies it: without commas."""
    return "" if number is None else str(number)


def _details(outcome: Outcome) -> Iterator[str]:
    for report in outcome.reports:
        for name, spans in (("recorded gap", report.gaps), ("hole", report.holes)):
            yield from _span_lines(report.stream, name, spans)
        for name, tally in _tallies(report).items():
            yield from (f"{report.stream}  {name}  {example}" for example in tally.examples)
    for found in outcome.comparisons:
        yield from _comparison_lines(found)
    yield from (f"{stream}  not compared with {outcome.against}" for stream in outcome.not_compared)
    for done in outcome.repaired:
        yield (
            f"{done.stream}  repaired into {done.into}: {done.written:,} entries written, {done.filled:,} trades "
            f"filled in, {done.still_missing:,} still missing, {done.left_out:,} left out"
        )
        yield from (f"{done.stream}  not repaired: {told}" for told in done.told)


def _span_lines(stream: str, name: str, spans: Spans) -> Iterator[str]:
    for first, last in spans.first[:_SPANS_SHOWN]:
        yield f"{stream}  {name}  {first} to {last}"
    if spans.count > _SPANS_SHOWN:
        yield f"{stream}  {name}  and {spans.count - _SPANS_SHOWN:,} more; -o json lists them"


def _comparison_lines(found: Mapping[str, Any]) -> Iterator[str]:
    stream, ours, venue = found["stream"], found["ours"], found["venue"]
    yield f"{stream}  against {found['against']}: {'the same' if found['agree'] else 'NOT THE SAME'}"
    for name in ours:
        yield f"{stream}    {name}  {ours[name]}  venue {venue[name]}"
    for name in ("missing_here", "missing_there"):
        yield from (f"{stream}    {name}  {first} to {last}" for first, last in found[name]["spans"][:_SPANS_SHOWN])
    yield from (f"{stream}    differs  {example}" for example in found["differing"]["examples"])
    if found["not_covered"]:
        yield f"{stream}    {found['not_covered']:,} of ours lie outside of what it covers"


def remarks(outcome: Outcome) -> list[str]:
    """What a person should know that is no failure."""
    reports, alone = outcome.reports, outcome.not_compared
    bare = [report.stream for report in reports if report.by_entry_ids]
    told = [f"of {', '.join(bare[:3])} only the order of entry ids is proved"] if bare else []
    more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
    told += [f"{', '.join(alone[:3])}{more}: not compared with {outcome.against}"] if alone else []
    gaps = sum(report.gaps.ids for report in reports)
    told += [f"{gaps:,} ids are missing and told by gap entries"] if gaps else []
    return [*told, "a proof begins with the first entry: what was trimmed before it is unknown"]
