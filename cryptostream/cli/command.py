"""What every command shares: the options of the contract, and errors told in one line with the right exit code."""

import asyncio
import errno
import functools
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptostream.cli import render
from cryptostream.errors import CryptostreamError
from cryptostream.logs import mask

if TYPE_CHECKING:
    from cryptostream.config import Config, Loaded

app = typer.Typer(
    name="cryptostream",
    help="Market data from exchanges to Redis Streams: complete, in order, free of duplicates.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_AGAIN_S = 4.0
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class LogFormat(StrEnum):
    """How log lines look: `auto` is for people on a terminal, JSON on a pipe."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


@dataclass(frozen=True)
class Call:
    """The options every command takes, as they were typed."""

    config: list[Path]
    set: list[str]
    redis: str | None
    data_dir: Path | None
    verbose: int
    quiet: bool
    log_format: str
    debug: bool

    def load(self, **flags: Any) -> "Loaded":
        """The whole configuration with its provenance; `flags` are dotted paths with `__` for the dot, None skipped.

        Raises ConfigError with every mistake at once.
        """
        from cryptostream import config, logs

        flags = {"bus__url": self.redis, "data_dir": self.data_dir, **flags}
        given = {name.replace("__", "."): value for name, value in flags.items() if value is not None}
        loaded = config.load(self.config, sets=self.set, flags=given, env=os.environ)
        logs.configure(verbosity=-1 if self.quiet else self.verbose, log_format=self.log_format)
        return loaded

    def settings(self, **flags: Any) -> "Config":
        """The configuration alone; see `load`."""
        return self.load(**flags).config


_COMMON: dict[str, Any] = {
    "config": Annotated[
        list[Path] | None,
        typer.Option("-c", "--config", help="A YAML file; repeat it, the last wins.", rich_help_panel="Common"),
    ],
    "set": Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Set one value of the configuration.", rich_help_panel="Common"),
    ],
    "redis": Annotated[str | None, typer.Option("--redis", metavar="URL", help="The bus.", rich_help_panel="Common")],
    "data_dir": Annotated[
        Path | None, typer.Option("--data-dir", help="Where the embedded bus and lists live.", rich_help_panel="Common")
    ],
    "verbose": Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="More log lines.", rich_help_panel="Common")
    ],
    "quiet": Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.", rich_help_panel="Common")],
    "log_format": Annotated[
        LogFormat, typer.Option("--log-format", help="How log lines look.", rich_help_panel="Common")
    ],
    "debug": Annotated[bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel="Common")],
}
_DEFAULTS = {"verbose": 0, "quiet": False, "log_format": LogFormat.AUTO, "debug": False}


def command(name: str, group: typer.Typer = app, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a command; its first parameter is the Call. A coroutine function is run to its end."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        own = list(inspect.signature(function).parameters.values())[1:]
        shared = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(key), annotation=annotation)
            for key, annotation in _COMMON.items()
        ]

        @functools.wraps(function)
        def run(**given: Any) -> None:
            common = {key: given.pop(key) for key in _COMMON}
            call = Call(**{**common, "config": common["config"] or [], "set": common["set"] or []})
            with_errors(lambda: finish(function(call, **given)), debug=call.debug)

        keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        run.__signature__ = inspect.Signature([*keyword_only, *shared])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*keyword_only, *shared]}
        group.command(name, **options)(run)
        return function

    return register


def finish(result: Any) -> Any:
    """A result; of a coroutine what it returns, once it has been run to its end."""
    if not isinstance(result, Coroutine):
        return result
    hears_signals = threading.current_thread() is threading.main_thread()  # Python's rule
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_until_sigterm(result) if hears_signals else result)


async def _until_sigterm(work: Coroutine[Any, Any, Any]) -> Any:
    """What the work returns; 0 where SIGTERM came first, which cancels it and lets it close what it has open."""
    with _cancelled_by_sigterm() as told:
        try:
            return await work
        except asyncio.CancelledError:
            if not told.is_set():
                raise
    return 0


@contextmanager
def _cancelled_by_sigterm() -> Iterator[asyncio.Event]:
    """Inside, SIGTERM cancels the task and sets the event.

    By `signal` instead of the loop's own handlers: what somebody inside puts over it can give way to it again.
    """
    loop, task, told = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()
    assert task is not None  # noqa: S101 - a coroutine runs in a task

    def tell() -> None:
        told.set()
        task.cancel()
        loop.call_later(_AGAIN_S, tell)  # redis-py can forget one: see heed_cancellation in bus/ask.py

    before = signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(tell))
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop's where the extra `fast` is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def finished(program: Callable[[], Any]) -> int:
    """Run the whole program, write what is left for stdout, and return the exit code."""
    code = 0
    try:
        try:
            program()
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
    except OSError as error:
        return _explain(error, debug=False) or code
    return code


def with_errors(work: Callable[[], Any], *, debug: bool = False) -> None:
    """Run a command's work and end the process as the contract says. A result that is a number is the exit code."""
    try:
        code = work() or 0
    except KeyboardInterrupt:
        code = 130
    except BaseExceptionGroup as group:
        code = _explain(_first(group), debug=debug)
    except Exception as error:
        code = _explain(error, debug=debug)
    raise typer.Exit(code)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error a person should read: ours before anybody else's."""
    leaves = [_first(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in leaves if isinstance(error, CryptostreamError)), leaves[0])


def _explain(error: BaseException, *, debug: bool) -> int:
    if isinstance(error, BrokenPipeError):
        return _closed_pipe()
    if isinstance(error, KeyboardInterrupt):
        return 130
    if debug:
        raise error
    if isinstance(error, CryptostreamError):
        render.error(mask(str(error)), mask(error.hint))
        return error.exit_code
    if isinstance(error, MemoryError):
        render.error("there is too little memory for this", "ask for less at once: fewer pairs, values or bars")
        return 1
    if isinstance(error, OSError) and _is_of_stdout(error):
        _write_nothing_more()
        render.error(f"cannot write to stdout: {error.strerror}")
        return 1
    hint = "" if isinstance(error, OSError) else "this is our fault: run it again with --debug and tell us"
    render.error(mask(f"{type(error).__name__}: {error}"), hint)
    return 1


def _closed_pipe() -> int:
    """Whoever read us has gone (`| head`): nothing is wrong, and nothing more can be written."""
    _write_nothing_more()
    return 0


def _is_of_stdout(error: OSError) -> bool:
    """Files tell their own errors with their path, so what is left without one and without room is stdout."""
    return error.filename is None and error.errno in _NO_ROOM


def _write_nothing_more() -> None:
    """What stdout still holds goes nowhere, for Python would complain about it at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
