"""What this machine offers: its Python, the optional packages, the data folder and the room on its disk."""

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from cryptostream.model.finding import Finding, fail, ok, warn

FAST = ("picows", "uvloop")
_OLDEST_PYTHON = (3, 11)
_GIB = 1 << 30
_LITTLE_ROOM = _GIB
_NO_ROOM = 100 << 20


def data_home(env: Mapping[str, str]) -> Path:
    """The folder for what has to be there the next time, where nobody names one: XDG's, with our name."""
    base = Path(env.get("XDG_DATA_HOME") or "")
    return (base if base.is_absolute() else Path("~/.local/share")) / "cryptostream"


class MachineFacts(msgspec.Struct, frozen=True):
    """`packages` are the optional ones with their versions, `unwritable` is why the data folder cannot be written."""

    python: tuple[int, int, int]
    packages: Mapping[str, str | None]
    data_dir: Path
    unwritable: str
    free_bytes: int


def look(data_dir: Path) -> MachineFacts:
    """The facts of the machine we run on; makes the data folder if it is missing."""
    why = _unwritable(data_dir)
    return MachineFacts(
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        packages={name: _version(name) for name in FAST},
        data_dir=data_dir,
        unwritable=why,
        free_bytes=shutil.disk_usage(_existing(data_dir)).free,
    )


def findings(facts: MachineFacts) -> Sequence[Finding]:
    """What is to be said about a machine."""
    return [_python(facts), _extras(facts), _data_dir(facts), _disk(facts)]


def _python(facts: MachineFacts) -> Finding:
    told = ".".join(map(str, facts.python))
    if facts.python[:2] >= _OLDEST_PYTHON:
        return ok("python", told)
    return fail("python", f"{told} is too old", "install Python 3.11 or newer")


def _extras(facts: MachineFacts) -> Finding:
    missing = [name for name, found in facts.packages.items() if found is None]
    if missing:
        return warn("extra fast", f"{' and '.join(missing)} not installed", "pip install 'cryptostream[fast]'")
    return ok("extra fast", ", ".join(f"{name} {found}" for name, found in facts.packages.items()))


def _data_dir(facts: MachineFacts) -> Finding:
    if facts.unwritable:
        return fail("data folder", f"{facts.data_dir}: {facts.unwritable}", "name another with --data-dir")
    return ok("data folder", str(facts.data_dir))


def _disk(facts: MachineFacts) -> Finding:
    told = f"{facts.free_bytes / _GIB:,.1f} GiB free"
    if facts.free_bytes < _NO_ROOM:
        return fail("disk", told, f"make room for {facts.data_dir}")
    if facts.free_bytes < _LITTLE_ROOM:
        return warn("disk", told, f"make room for {facts.data_dir}, or lower bus.maxlen")
    return ok("disk", told)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _unwritable(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"1")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
