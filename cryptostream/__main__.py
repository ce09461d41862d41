"""`cryptostream` and `python -m cryptostream` are the same."""

import os
import sys

_STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}
_INTERRUPTED = 130


def main() -> None:
    """Run the command line and end the process. What takes time is imported inside: Ctrl-C is quiet there too."""
    try:
        _open_what_is_closed()
        sys.exit(_run())
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _run() -> int:
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # without one, the first process of a container ignores it

    from cryptostream.cli.command import finished
    from cryptostream.cli.main import app

    return finished(app)


def _open_what_is_closed() -> None:
    """Put /dev/null where the caller has closed a standard stream (`>&-`): the next file would take its number."""
    for number, (name, mode) in enumerate(_STREAMS.items()):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good


def _leave_the_folder_out() -> None:
    """`python -m` looks for modules in the current folder; what happens to lie there is none of our business."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH120, PTH100 - pathlib takes its time
    if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()] != [here]:  # noqa: PTH109
        del sys.path[0]


if __name__ == "__main__":
    _leave_the_folder_out()
    main()
