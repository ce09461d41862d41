"""What an install signs its cookies with: made once, kept in a file that its owner alone can read."""

import os
import stat
from pathlib import Path
from secrets import token_hex

from cryptostream.errors import ConfigError

_LENGTH = 64


def kept(file: Path) -> str:
    """The secret in a file, which is made where there is none. One that others could read is made anew.

    Raises ConfigError.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _read(file) or _made(file)
    except OSError as error:
        raise ConfigError(
            f"the secret of sessions cannot be kept in {file}: {error.strerror}", hint="see data_dir"
        ) from error


def _read(file: Path) -> str:
    """What a file of ours holds; empty where it is not there or not fit."""
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    with os.fdopen(opened, "rb") as reading:
        facts = os.fstat(opened)
        found = reading.read(_LENGTH + 1) if stat.S_ISREG(facts.st_mode) else b""
    private = not facts.st_mode & 0o077 and facts.st_uid == os.geteuid()
    return found.decode("ascii", "replace") if private and len(found) == _LENGTH else ""


def _made(file: Path) -> str:
    """A new one. It is whole from the moment it has its name; who comes second takes the first one's."""
    fresh = file.with_name(f"{file.name}.{token_hex(8)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writing:
        writing.write(token_hex(_LENGTH // 2))
    try:
        os.link(fresh, file)
    except FileExistsError:
        if not _read(file):
            fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
    return _read(file)
