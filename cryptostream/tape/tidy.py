"""What a recorder does now and then to its folder: it merges small files, and takes away old ones."""

from dataclasses import dataclass
from pathlib import Path

from cryptostream import logs
from cryptostream.model.codec import iso
from cryptostream.tape.compact import compact
from cryptostream.tape.retention import retain
from cryptostream.tape.rounds import Rounds

_log = logs.get("tape")


@dataclass(frozen=True, kw_only=True)
class Tidying:
    """What is to be done. Without `keep_s` and `keep_bytes` everything is kept; `archive` takes what leaves."""

    compression: str = "zstd"
    keep_s: float | None = None
    keep_bytes: int | None = None
    archive: Path | None = None


def tidy(folder: Path, settings: Tidying, now_ms: int, rounds: Rounds | None = None) -> None:
    """Heal, merge and retain, once; `now_ms` is in ms since the epoch. Synchronous: for a thread.

    `rounds`, the same every time, spares what has not changed since, and lets it be stopped.

    What cannot be done now, for the disk refuses, is told in the log and done the next time.
    """
    if not folder.is_dir():
        return
    keep_ms = None if settings.keep_s is None else round(settings.keep_s * 1000)
    try:
        taken = retain(
            folder,
            keep_ms=keep_ms,
            keep_bytes=settings.keep_bytes,
            archive=settings.archive,
            now_ms=now_ms,
            rounds=rounds,
        )
        merged = compact(folder, today=iso(now_ms * 1000)[:10], compression=settings.compression, rounds=rounds)
    except OSError as error:
        _log.warning("recording.untidy", folder=str(folder), reason=str(error))
        return
    if merged or taken:
        _log.info("recording.tidied", folder=str(folder), merged=merged, taken_away=taken)
