"""Strategies that are asked for while others run: made beside the loop, in a time, and of no more than so many bars."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from cryptostream.config.strategies import Wish
from cryptostream.engine.clock import SystemClock, within
from cryptostream.errors import UsageError
from cryptostream.strategies import loading

MOST_BARS = 10_000
"""That a strategy which was asked for takes in before it can speak: what it keeps of each pair grows with them."""
_WITHIN_S = 5.0
"""A name that is held lapses after twice as long."""

P = ParamSpec("P")
T = TypeVar("T")


async def apart(make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a call makes, in a thread. Raises UsageError where that takes too long, and what the call raises."""
    try:
        return await within(SystemClock(), _WITHIN_S, asyncio.to_thread(make, *args, **kwargs))
    except TimeoutError as error:
        raise UsageError(f"it is not made within {_WITHIN_S:g} s") from error


def check(wanted: Wish, paths: Sequence[Path]) -> None:
    """Make it once. Raises UsageError for one that takes in too much before it speaks, and what `loading.make` does."""
    bars = loading.make(wanted.name, wanted.params, paths=paths).warm_up
    if bars > MOST_BARS:
        raise UsageError(
            f"strategy {wanted.name} takes in {bars:,} bars before it speaks, and by request {MOST_BARS:,} at most",
            hint="one that stands in the configuration may take in more",
        )
