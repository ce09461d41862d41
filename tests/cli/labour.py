"""Work for other processes: quick, failing, dying, or never done.

`python labour.py`: shares out work that is never done, and is made to be killed.
"""

import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from cryptostream.cli.jobs import run_all
from cryptostream.errors import DataQuality


def squared(number: int) -> int:
    """The first tasks take the longest."""
    sum(range(max(0, 5 - number) * 300_000))
    return number * number


def where(_number: int) -> int:
    return os.getpid()


def failing(number: int) -> int:
    if number == 0:
        raise DataQuality("the file is damaged", hint="fetch it again")
    return never(number)


def dying(number: int) -> int:
    if number == 0:
        os._exit(9)
    return never(number)


def first_only(number: int) -> int:
    return number if number == 0 else never(number)


def never(number: int) -> int:
    print(f"at work on {number}", flush=True)
    threading.Event().wait()
    return number


if __name__ == "__main__":
    run_all(2, range(4), never)
