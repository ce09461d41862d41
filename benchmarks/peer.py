"""cryptofeed 2.4.1 in a venv of its own: built from source once, then kept."""

import os
import sys
from pathlib import Path
from typing import Final

from benchmarks.processes import ROOT, Unavailable, run
from benchmarks.report import say

VERSION: Final = "2.4.1"
SCRIPT: Final = ROOT / "benchmarks" / "peers" / "cryptofeed_ingest.py"
_BUILD_S = 600.0


def python() -> Path:
    """The interpreter of cryptofeed's venv, made if it is missing. Raises Unavailable if it cannot be built."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    venv = cache / "cryptostream-bench" / f"cryptofeed-{VERSION}-py{sys.version_info.major}{sys.version_info.minor}"
    ready = venv / "built"
    if not ready.exists():
        say(f"building cryptofeed {VERSION} in {venv} (once, about a minute)")
        try:
            _build(venv)
        except (RuntimeError, OSError) as error:
            raise Unavailable(f"cryptofeed {VERSION} could not be built: {error}") from error
        ready.touch()
    return venv / "bin" / "python"


def _build(venv: Path) -> None:
    run([sys.executable, "-m", "venv", "--clear", str(venv)], _BUILD_S)
    install = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    run([*install, "cython", "setuptools<72", "wheel"], _BUILD_S)
    run([*install, "--no-build-isolation", f"cryptofeed[redis]=={VERSION}"], _BUILD_S)
