"""What our files of raw frames are called: `binance-0-20261121T01.raw.gz`, one per connection and hour."""

import re
from datetime import UTC, datetime
from typing import NamedTuple

HOUR_NS = 3_600 * 1_000_000_000
IN_PROGRESS = ".inprogress"

_NAME = re.compile(r"(?P<connection>.+)-(?P<hour>\d{8}T\d{2})(?:-(?P<part>\d+))?\.raw\.gz(?:\.inprogress)?")


class Name(NamedTuple):
    """The parts of a file's name. `part` counts the files that one connection began in one hour, from 0."""

    connection: str
    hour: str
    part: int


def file_name(connection: str, hour: int, part: int) -> str:
    """The name of a closed file; `hour` counts from the epoch.

    >>> file_name("binance-0", 498721, 0), file_name("binance-0", 498721, 2)
    ('binance-0-20261123T01.raw.gz', 'binance-0-20261123T01-2.raw.gz')
    """
    when = datetime.fromtimestamp(hour * 3600, UTC)
    return f"{connection}-{when:%Y%m%dT%H}{f'-{part}' if part else ''}.raw.gz"


def parse(name: str) -> Name | None:
    """Read a name, of a closed file or one in progress; None for a name that is not ours.

    >>> parse("binance-0-20261123T01-2.raw.gz")
    Name(connection='binance-0', hour='20261123T01', part=2)
    """
    found = _NAME.fullmatch(name)
    return Name(found["connection"], found["hour"], int(found["part"] or 0)) if found else None
