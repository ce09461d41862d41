"""The fault matrix: each row, what has to happen, the tests that show it, and what they reached."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Row:
    """One fault of the matrix and what is expected of us."""

    fault: str
    expected: str
    elsewhere: tuple[str, ...] = ()
    """Tests, by the beginning of their names, that show it beside those marked `row`."""
    later: str = ""
    """Why nothing shows it yet."""


ROWS: dict[int, Row] = {
    1: Row("websocket dropped: close, RST, end without a word", "back within 2 s, the stretch between fetched"),
    2: Row("half-open socket", "noticed within 20 s, nothing missing"),
    3: Row(
        "accept-then-close storm, 503 at the handshake",
        "at most 60 connects in 5 minutes, never 2 within 250 ms",
    ),
    4: Row(
        "429, 418, 403",
        "no call before Retry-After ends; 403 at the start ends it with 5",
        (
            "tests/feed/test_rest.py::test_nobody_calls_before",
            "tests/feed/test_rest.py::test_403",
            "tests/feed/test_live.py::test_a_venue_that_asks_for_patience",
            "tests/feed/test_live.py::test_a_venue_that_forbids_us",
        ),
    ),
    5: Row("Redis stands still at full load", "the websocket is never held back, nothing lost, memory bounded"),
    6: Row("garbage, truncated, non-UTF-8 frames", "counted, set aside, every good frame kept"),
    7: Row(
        "schema drift: new, missing, retyped fields", "new ones ignored; bad frames set aside, their trades fetched"
    ),
    8: Row("giant frame", "connection closed with 1009, others back within 5 s"),
    9: Row("duplicated trades", "none in the stream, counted exactly"),
    10: Row("trades out of order", "published in the order of their ids"),
    11: Row("skipped ids", "told within 1 s and fetched; what nobody has becomes a gap entry"),
    12: Row(
        "clock skew of 5 minutes",
        "nothing changes; no latency below zero; doctor warns",
        ("tests/feed/test_reach.py::test_a_clock_may_differ", "tests/feed/test_venuetime.py"),
    ),
    13: Row("Redis killed (AOF)", "reconnect, drain; nothing acknowledged is lost, nothing twice"),
    14: Row("Redis back empty", "ingest goes on; the ledger tells of `bus_reset`"),
    15: Row("reply lost after XADD", "the retry is refused by the entry id"),
    16: Row("Redis out of memory", "spooled, resumed within 5 s of room, nothing lost"),
    17: Row(
        "eviction policy other than noeviction",
        "warned of, refused with `--strict`; doctor names the fix",
        ("tests/cli/test_doctor.py::test_a_bus_that_evicts", "tests/cli/test_doctor.py::test_warnings_fail"),
    ),
    18: Row("MOVED, ASK, resharding", "followed, order kept in each stream"),
    19: Row("cluster master killed", "pause, spool, go on: nothing missing"),
    20: Row("READONLY replica after a failover", "Sentinel is asked again, publishing goes on"),
    21: Row(
        "LOADING, NOPERM, WRONGTYPE, NOAUTH",
        "the first is waited for; the others are one line with a hint, 78 or 5",
        (
            "tests/bus/test_translate.py",
            "tests/bus/test_connect.py::test_a_server_that_is_loading",
            "tests/bus/test_connect.py::test_a_refusal_ends",
            "tests/e2e/test_bad_input.py::test_a_key_of_another_type",
        ),
    ),
    22: Row("disk full, quota, EIO", "the recorder waits, nothing is torn, it goes on by itself"),
    23: Row("SIGTERM", "drained, exit 0 within 10 s, nothing lost or twice"),
    24: Row("SIGKILL in the middle of a write", "redelivered: each entry in files once, each signal once"),
    25: Row("order of writes at a power loss", "fsync before rename before the folder's fsync before ack"),
    26: Row("consumer dies with pending entries", "claimed by another one; an owner's streams move, in order"),
    27: Row("zombie consumer wakes", "its writes are refused, 0 effects"),
    28: Row("poison message", "set aside after five deliveries, once; the group goes on; `dlq retry` works"),
    29: Row("handler hangs or eats CPU", "health says which within 10 s"),
    30: Row("two ingesters, one killed", "nothing lost, nothing twice, no pause"),
    31: Row("slow group, trim passes it", "the count that is told is the true loss, in its place"),
    32: Row(
        "CoinGecko down, slow, 429, junk, huge",
        "the last good list, then the fallback pairs; never an empty list",
        (
            "tests/feed/test_discover.py::test_whatever_the_ranking_answers",
            "tests/feed/test_discover.py::test_without_a_last_good_list",
            "tests/feed/test_discover.py::test_a_list_that_loses_more_than_half",
            "tests/feed/test_discover.py::test_a_door_that_hangs",
        ),
    ),
    33: Row(
        "DNS failure, TLS expired or of another host",
        "DNS is tried again; TLS is final, never plain text",
        (
            "tests/feed/test_rest.py::test_a_certificate_that_is_refused",
            "tests/bus/test_connect.py::test_tls_that_is_not_trusted",
        ),
    ),
    34: Row("mistakes in the configuration", "all told with their place, 78", ("tests/config/test_bad_files.py",)),
    35: Row(
        "unknown or delisted symbol",
        "named once, the others go on",
        (
            "tests/e2e/test_bad_input.py::test_an_unknown_symbol",
            "tests/e2e/test_bad_input.py::test_only_unknown_symbols",
        ),
    ),
    36: Row("abuse of the API", "413, 422, 429, timeouts; ingest unimpressed"),
    37: Row("file handles used up", "a clear error, what lives is kept, no crash loop"),
    38: Row("corrupt recording", "stops at the place, exit 6", ("tests/tape/test_reader.py",)),
    39: Row(
        "server of `embedded://` dies",
        "started again once with its data, else an error",
        (
            "tests/bus/test_embedded.py::test_a_server_that_dies",
            "tests/bus/test_embedded.py::test_a_new_command_starts_over",
        ),
    ),
    40: Row("soak of an hour", "nothing grows", later="`make soak` runs minutes, not yet an hour"),
}


@dataclass
class Shown:
    """What the tests of one row came to."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    files: dict[str, None] = field(default_factory=dict)
    figures: list[str] = field(default_factory=list)


class Collector:
    """A pytest plugin that keeps the tests of rows alone, and adds up what they came to, by row."""

    def __init__(self) -> None:
        self.shown: dict[int, Shown] = {number: Shown() for number in ROWS}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept = []
        for item in items:
            rows = sorted({*_marked(item), *_listed(item.nodeid)})
            item.user_properties += [("row", number) for number in rows]
            if rows:
                kept.append(item)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        for number in [value for name, value in report.user_properties if name == "row"]:
            self._note(self.shown[int(str(number))], report)

    def _note(self, shown: Shown, report: pytest.TestReport) -> None:
        shown.files[report.nodeid.partition("::")[0]] = None
        shown.passed += report.passed
        shown.failed += report.failed
        shown.skipped += report.skipped
        for name, value in report.user_properties:
            if name == "figure" and str(value) not in shown.figures:
                shown.figures.append(str(value))


def _marked(item: pytest.Item) -> Iterator[int]:
    for mark in item.iter_markers("row"):
        yield from mark.args


def _listed(nodeid: str) -> Iterator[int]:
    for number, row in ROWS.items():
        if nodeid.startswith(row.elsewhere):
            yield number


def run(arguments: Sequence[str] = ()) -> tuple[dict[int, Shown], int]:
    """Run every test of every row, heavy ones too; what they came to, and pytest's exit code."""
    collector = Collector()
    told = ["-m", "", "-q", "--no-header", "-p", "no:cacheprovider", str(ROOT / "tests"), *arguments]
    code = pytest.main(["--rootdir", str(ROOT), *told], plugins=[collector])
    return collector.shown, int(code)


def table(shown: dict[int, Shown]) -> str:
    """The matrix in Markdown.

    >>> print(table({40: Shown()}).splitlines()[-1])
    | 40 | soak of an hour | nothing grows | untested: `make soak` runs minutes, not yet an hour |  |
    """
    lines = ["| # | fault | expected | tests | reached |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(_line(number, ROWS[number], shown[number]) for number in sorted(shown))])


def _line(number: int, row: Row, shown: Shown) -> str:
    cells = (str(number), row.fault, row.expected, _tests(row, shown), "; ".join(shown.figures))
    return f"| {' | '.join(cells)} |"


def _tests(row: Row, shown: Shown) -> str:
    if not shown.files:
        return f"untested: {row.later}" if row.later else "untested"
    counts = [f"{shown.passed} passed"]
    counts += [f"**{shown.failed} failed**"] if shown.failed else []
    counts += [f"{shown.skipped} skipped"] if shown.skipped else []
    files = [f"`{name.removeprefix('tests/')}`" for name in shown.files]
    return f"{', '.join(counts)}: {', '.join(files)}"
