"""Recordings for tests: trades, and the files that hold them, written as the recorder writes them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptostream.model.codec import iso
from cryptostream.model.events import Entry
from cryptostream.tape import parts, schema

START_MS = 1_795_132_800_000  # 2026-11-20T00:00:00Z
DAY_MS = 86_400_000


def trade(number: int, pair: str = "BTCUSDT", *, day: int = 0, **more: str) -> Entry:
    """A trade at `number` ms of a day."""
    ms = START_MS + day * DAY_MS + number
    fields = {"exchange": "binance", "pair": pair, "price": f"{45000 + number % 7}.50000000", "qty": "0.12300000"}
    fields |= {"ts": iso(ms * 1000), "side": "sell" if number % 2 else "buy", "trade_id": str(number)}
    return Entry(f"trades:{pair}", f"{ms}-{number}", {**fields, **more})


def trades(first: int, last: int, pair: str = "BTCUSDT", *, day: int = 0) -> list[Entry]:
    return [trade(number, pair, day=day) for number in range(first, last + 1)]


def record(root: Path, entries: Sequence[Entry], *, replaces: Iterable[str] = (), name: str = "") -> Path:
    """One file of a recording, of one stream and one day."""
    first = entries[0]
    day = int(first.entry_id.partition("-")[0]) // DAY_MS
    folder = parts.folder_of(root, first.stream, first.fields, day)
    parts.make_folder(folder)
    path = folder / (name or parts.file_name(first.stream, first.entry_id))
    parts.save(path, parts.packed(schema.table(entries, replaces=tuple(replaces)), "zstd"))
    return path


def damage(path: Path, place: float = 0.3) -> None:
    """Flip a byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[round(len(content) * place)] ^= 0xFF
    path.write_bytes(content)


def names(folder: Path) -> list[str]:
    """All files under a folder, by the end of their names."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())
