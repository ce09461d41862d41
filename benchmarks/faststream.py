"""FastStream in a venv of its own, made once and then kept."""

import os
import sys
from pathlib import Path
from typing import Final

from benchmarks.processes import ROOT, Unavailable, run
from benchmarks.report import say

VERSION: Final = "0.7.8"
SCRIPT: Final = ROOT / "benchmarks" / "peers" / "faststream_consume.py"
_BUILD_S = 600.0


def python() -> Path:
    """The interpreter of FastStream's venv, made if it is missing. Raises Unavailable if it cannot be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    venv = cache / "cryptostream-bench" / f"faststream-{VERSION}-py{sys.version_info.major}{sys.version_info.minor}"
    ready = venv / "built"
    if not ready.exists():
        say(f"installing FastStream {VERSION} in {venv} (once)")
        try:
            run([sys.executable, "-m", "venv", "--clear", str(venv)], _BUILD_S)
            install = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            run([*install, f"faststream[redis]=={VERSION}", "hiredis", "uvloop"], _BUILD_S)
        except (RuntimeError, OSError) as error:
            raise Unavailable(f"FastStream {VERSION} could not be installed: {error}") from error
        ready.touch()
    return venv / "bin" / "python"
