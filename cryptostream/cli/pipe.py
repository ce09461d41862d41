"""A pipe whose reader has gone (`| head`) ends the command, also while there is nothing to write to it."""

import asyncio
import select
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from os import fstat

from cryptostream.model.ports import Clock

_LOOK_EVERY_S = 0.5


@asynccontextmanager
async def ends_with_its_reader(clock: Clock) -> AsyncGenerator[None, None]:
    """Inside, BrokenPipeError is raised soon after the last reader of stdout has gone.

    What is raised inside leaves in an ExceptionGroup.
    """
    async with asyncio.TaskGroup() as tasks:
        # An event loop's add_reader would tell at once, but uvloop's never returns from a broken pipe.
        watching = tasks.create_task(_watch(_pipe(), clock))
        yield
        watching.cancel()


async def _watch(pipe: int | None, clock: Clock) -> None:
    if pipe is None:
        return
    broken = select.poll()
    broken.register(pipe, 0)  # asked for nothing, poll still tells of errors
    while not broken.poll(0):
        await clock.sleep(_LOOK_EVERY_S)
    raise BrokenPipeError


def _pipe() -> int | None:
    """The descriptor of stdout where it is a pipe."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # a test has put something else there
        return None
    return descriptor if stat.S_ISFIFO(fstat(descriptor).st_mode) else None
