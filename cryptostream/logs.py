"""Facts with a name, to stderr: a console line on a terminal, JSON on a pipe; secrets masked by one processor."""

import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

_SECRET_FIELD = re.compile(r"key|token|secret|password|signature|passphrase", re.IGNORECASE)
_URL_SECRET = re.compile(r"(\w[\w+.-]*://)[^/\s]*@")
_QUERY_SECRET = re.compile(r"(?i)([?&][\w.-]*(?:key|token|secret|password|signature)[\w.-]*=)[^&\s\"']+")
_LEVELS = {-1: 40, 0: 20, 1: 10}


def mask(text: str) -> str:
    """Hide the secrets that a text with URLs in it can carry.

    >>> mask("redis://user:hunter2@host:6379/0")
    'redis://***@host:6379/0'
    >>> mask("https://x/y?a=1&api_key=abc")
    'https://x/y?a=1&api_key=***'
    """
    return _URL_SECRET.sub(r"\1***@", _QUERY_SECRET.sub(r"\1***", text))


def _redact(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in facts.items():
        if name != "event" and _SECRET_FIELD.search(name) and value:
            facts[name] = "***"
        elif isinstance(value, str):
            facts[name] = mask(value)
        elif isinstance(value, BaseException):
            facts[name] = mask(str(value))
    return facts


class _Stderr:
    """Whatever sys.stderr is at the moment of writing: a live status line puts itself in its place."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _Unconfigured:
    """Where lines go until somebody says so: false once structlog is configured, which then asks its own factory."""

    def __bool__(self) -> bool:
        import structlog

        return not structlog.is_configured()

    def msg(self, line: str) -> None:
        sys.stderr.write(f"{mask(line)}\n")

    debug = info = warning = warn = error = critical = fatal = failure = exception = log = msg


def _without_room(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    facts.pop("room", None)  # a person reads it in the event's name
    return facts


def configure(*, verbosity: int = 0, log_format: str = "auto") -> None:
    """Send logs to stderr. `verbosity`: -1 errors, 0 facts, 1 everything. `log_format`: auto, console or json."""
    import structlog  # a third of the time that --help takes, so not before somebody logs

    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shape: list[Any] = (
        [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
        if as_json
        else [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=True),
            _without_room,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, pad_level=False),
        ]
    )
    structlog.configure(
        processors=[structlog.processors.add_log_level, _redact, *shape],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[max(-1, min(1, verbosity))]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=False,
    )


def get(room: str) -> Any:
    """A logger for one room: `get("feed").info("feed.reconnecting", delay_s=1.2)`.

    In a program that never configured structlog its lines go to stderr: stdout is the program's own.
    """
    import structlog

    return structlog.wrap_logger(_Unconfigured(), room=room)
