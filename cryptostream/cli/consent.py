"""Asked before anything is changed that cannot be changed back: on a terminal a question, in scripts `--yes`."""

import asyncio
import sys
from typing import Annotated

import typer

from cryptostream.cli import render
from cryptostream.errors import CryptostreamError, UsageError

Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask; needed where there is no terminal.")]


class Declined(CryptostreamError):
    """The person was asked and did not say yes: nothing was changed."""

    exit_code = 130


def check_can_ask(*, yes: bool) -> None:
    """Raise UsageError where somebody would have to be asked and nobody is there."""
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("this asks first, and there is no terminal to ask on", hint="add --yes")


async def consent(question: str, *, yes: bool) -> None:
    """Return if the person says yes, or has said so before. Raises Declined."""
    if yes:
        return
    render.err().print(f"{render.safe(question)} [y/N] ", end="", soft_wrap=True, markup=False)
    if (await _typed()).strip().lower() not in ("y", "yes"):
        raise Declined("nothing was changed")


async def _typed() -> str:
    """The next line from the terminal; the loop goes on meanwhile, so that Ctrl-C is heard."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ready.set)
    try:
        await ready.wait()
    except asyncio.CancelledError:
        render.err().print()  # the shell's prompt is to begin a line
        raise
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline()
