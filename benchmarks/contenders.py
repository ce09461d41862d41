"""The contenders of `backtest`, each in a venv of its own, made once and then kept."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import ROOT, Unavailable, run
from benchmarks.report import say

_BUILD_S = 900.0


class Contender(NamedTuple):
    """A package, and the script under `peers` that runs the backtest with it."""

    package: str
    version: str
    script: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}"

    @property
    def path(self) -> Path:
        return ROOT / "benchmarks" / "peers" / self.script


NAUTILUS = Contender("nautilus_trader", "1.221.0", "nautilus_backtest.py")
HFTBACKTEST = Contender("hftbacktest", "2.4.4", "hftbacktest_backtest.py")
VECTORBT = Contender("vectorbt", "1.2.0", "vectorbt_backtest.py")
BACKTESTING = Contender("backtesting", "0.6.6", "backtesting_backtest.py")


def python(who: Contender) -> Path:
    """The interpreter of a contender's venv, made if it is missing. Raises Unavailable if it cannot be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cryptostream-bench"
    venv = cache / f"{who.package}-{who.version}-py{sys.version_info.major}{sys.version_info.minor}"
    ready = venv / "built"
    if not ready.exists():
        say(f"installing {who} in {venv} (once)")
        try:
            run([sys.executable, "-m", "venv", "--clear", str(venv)], _BUILD_S)
            install = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            run([*install, f"{who.package}=={who.version}", "pyarrow"], _BUILD_S)
        except (RuntimeError, OSError) as error:
            raise Unavailable(f"{who} could not be installed: {error}") from error
        ready.touch()
    return venv / "bin" / "python"
