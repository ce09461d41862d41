"""What a check-up says about one thing: fine, doubtful or wrong, and what to do about it."""

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How bad it is; only `fail` fails a check-up, unless it is strict."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """One line of a check-up: `what` was looked at, `detail` is what was seen, `fix` what mends it."""

    level: Level
    what: str
    detail: str
    fix: str = ""


def ok(what: str, detail: str) -> Finding:
    """It is as it should be."""
    return Finding(Level.OK, what, detail)


def warn(what: str, detail: str, fix: str) -> Finding:
    """It works, and will surprise somebody."""
    return Finding(Level.WARN, what, detail, fix)


def fail(what: str, detail: str, fix: str) -> Finding:
    """It does not work, or data is lost."""
    return Finding(Level.FAIL, what, detail, fix)
