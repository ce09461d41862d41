"""The files of a recording: where each lies, what it says of itself, and how it gets there whole.

`<folder>/channel=trades/pair=BTCUSDT/date=2026-11-20/trades-BTCUSDT.<first entry id>.parquet`: a file, a *part*, holds
entries of one stream and one UTC day of their ids. Its bytes reach the disk before its name does, and its name before
anybody goes on. Whoever adds files to such a folder, or takes some away, holds its lock meanwhile.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from cryptostream.errors import DataQuality
from cryptostream.tape import schema
from cryptostream.tape.schema import ENTRY_ID, Facts
from cryptostream.tape.text import Text

DAY_MS = 86_400_000
SUFFIX = ".parquet"
IN_PROGRESS = ".inprogress"
DAMAGED = ".damaged"
NO_VALUE = "all"
"""In the place of a pair where a stream is of many or of none, and of a date beyond the year 9999, which has no name.
Not the null of hive: not every reader takes it."""
ROWS_TOGETHER = 65_536
"""Rows of a row group: what a reader has to hold at once."""
_EPOCH = date(1970, 1, 1)
_LONGEST = 180  # bytes of what becomes part of a name; names may have 255


def folder_of(root: Path, stream: str, fields: Mapping[str, str], day: int) -> Path:
    """Where a stream's entries of a day since the epoch lie; `fields` are those of any of its entries.

    >>> fields = {"pair": "BTCUSDT", "trade_id": "1", "price": "2"}
    >>> folder_of(Path("data"), "trades:BTCUSDT", fields, 20777).as_posix()
    'data/channel=trades/pair=BTCUSDT/date=2026-11-20'
    """
    channel, pair = schema.channel(stream, fields), schema.pair_of(stream, fields)
    return root / f"channel={_value(channel)}" / f"pair={_value(pair)}" / f"date={_date(day)}"


def stem(stream: str) -> str:
    """What the names of a stream's files begin with; no two streams share it.

    >>> stem("trades:BTCUSDT"), stem("trades:BTC-USDT"), stem("../x")
    ('trades-BTCUSDT', 'trades-BTC%2DUSDT', '%2E%2E%2Fx')
    """
    return _capped(_quoted(stream).replace(":", "-"), stream)


def file_name(stream: str, first_id: str) -> str:
    """The name of a stream's file whose least entry id this is."""
    return f"{stem(stream)}.{first_id}{SUFFIX}"


def of_stream(folder: Path, stream: str) -> list[Path]:
    """A stream's files in one folder, sorted by name; what is in progress is not among them."""
    begins = f"{stem(stream)}."
    with suppress(FileNotFoundError):
        return sorted(path for path in folder.iterdir() if path.name.startswith(begins) and path.suffix == SUFFIX)
    return []


def about(path: Path) -> Facts:
    """What a file says of itself, read from its end alone.

    Raises DataQuality that names the file where it is damaged or none of ours, OSError where the disk does not give it.
    """
    with _naming(path):
        return schema.facts(pq.read_metadata(path).metadata)


def ids(path: Path) -> pa.Array:
    """The entry ids in a file. Raises as `about` does."""
    with _naming(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read(columns=[ENTRY_ID]).column(0).combine_chunks()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Damage, of which pyarrow tells in two ways, becomes ours."""
    try:
        yield
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise DataQuality(f"{path} is damaged: {' '.join(str(error).split())}") from error


def packed(table: pa.Table, compression: str) -> pa.Buffer:
    """A table as the bytes of a file."""
    types = {field.name: field.type for field in table.schema}
    words = [name for name, kind in types.items() if pa.types.is_dictionary(kind)]
    steps = [name for name, kind in types.items() if pa.types.is_integer(kind) or pa.types.is_timestamp(kind)]
    out = pa.BufferOutputStream()
    pq.write_table(
        table,
        out,
        row_group_size=ROWS_TOGETHER,
        compression=compression,
        use_dictionary=words,
        write_page_checksum=True,
        column_encoding={ENTRY_ID: "DELTA_BYTE_ARRAY", **dict.fromkeys(steps, "DELTA_BINARY_PACKED")},
    )
    return out.getvalue()


def text(data: pa.Buffer) -> Text:
    """What `packed` made, as the text it was."""
    table = pq.ParquetFile(pa.BufferReader(data)).read()
    return schema.as_text(table, schema.layout(table.schema.metadata))


def save(path: Path, data: pa.Buffer) -> None:
    """Put a whole file in its place, in the order that a power cut respects. Raises OSError, and leaves nothing then.

    What had this name is replaced. The caller holds the folder's lock.
    """
    draft = path.with_name(f".{path.name}{IN_PROGRESS}")
    try:
        _write(draft, data)
        draft.rename(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that there are not, so that a power cut does not take them. Raises OSError."""
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(exist_ok=True)
        sync_folder(missing.parent)


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, for which others, threads and processes, wait. The kernel frees it when we die.

    Raises OSError.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(draft: Path, data: pa.Buffer) -> None:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _value(text: str) -> str:
    return _capped(_quoted(text), text) or NO_VALUE


def _date(day: int) -> str:
    try:
        return str(_EPOCH + timedelta(days=day))
    except OverflowError:
        return NO_VALUE


def _capped(quoted: str, text: str) -> str:
    """What a text became, short enough for a name: where it is cut, a digest of all of the text stands for the rest."""
    if len(quoted.encode()) <= _LONGEST:
        return quoted
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{quoted.encode()[: _LONGEST - 33].decode(errors='ignore')}%{digest}"


def _quoted(text: str) -> str:
    """Text that is safe in a path, different for different texts."""
    quoted = re.sub(r"[^\w.:]", _percent, text)
    return re.sub(r"^\.+", lambda dots: "%2E" * len(dots[0]), quoted)


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))
