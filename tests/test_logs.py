"""Where lines go in a program that imports cryptostream: stdout is the program's own."""

import subprocess
import sys

_LOGS = "from cryptostream import logs; log = logs.get('room'); "
_LINE = "log.bind(a=1).warning('room.lost', url='redis://user:hunter2@host')"


def _outputs(script: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", _LOGS + script], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_a_program_that_configured_nothing_gets_lines_on_stderr_and_no_secrets() -> None:
    out, err = _outputs(_LINE)
    assert (out, "room.lost" in err, "hunter2" in err) == ("", True, False)


def test_a_program_that_configured_structlog_gets_lines_where_it_wants_them() -> None:
    out, err = _outputs(
        "import structlog, sys; log.info('before'); "
        "structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stdout)); " + _LINE
    )
    assert ("before" in err, "room.lost" in out, "room.lost" in err) == (True, True, False)
