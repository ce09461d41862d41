"""A field's texts as a column of numbers, times or words, and back to the same texts, letter by letter.

What a column is, its field's name tells, so that all parts of a channel are of one shape: a field that an event holds
as a float is a decimal here, a count an integer, `ts` a time in UTC. Nothing passes through a float. What does not come
back as the text it was (`1e5`, `007`, words where numbers belong) is written down beside the column as an exception;
a column that is mostly exceptions stays text.
"""

import zlib
from base64 import b85decode, b85encode
from collections.abc import Mapping, Sequence
from itertools import chain
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from cryptostream.model.events import DeadLetter, Gap, Kline, LedgerRecord, Micros, Trade

Kind = Literal["decimal", "integer", "time", "flag", "word", "text"]
"""A word is a text of few values; it is kept as a dictionary, as readers of partitioned folders expect of `pair`."""

SCALES = (8, 18)
"""Digits behind the point of a decimal. The second only where the first is too short: it leaves less room for sums."""
_DIGITS = 38
_WORDS = ("exchange", "pair", "interval", "side", "kind", "event", "channel", "cause", "strategy", "ingester", "stream")
_MAX_ODD = 1000
_KINDS_OF_TYPES: dict[Any, Kind] = {float: "decimal", int: "integer", Micros: "time", bool: "flag"}


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the texts of one field were written: what it takes to have them back."""

    field: str
    kind: Kind
    decimals: int | str = 0
    """Of decimals, the digits behind the point of each text: the same for all, `short` where none of them is a zero at
    the end, else one byte for each row, packed."""
    odd: Mapping[int, str] = {}
    """The texts that the column cannot give back, by row."""


def kind_of(field: str) -> Kind:
    """What the column of a field holds; text where the name promises nothing.

    >>> [kind_of(field) for field in ("price", "trade_id", "ts", "closed", "pair", "raw_json", "rsi")]
    ['decimal', 'integer', 'time', 'flag', 'word', 'text', 'text']
    """
    return _KINDS.get(field, "text")


def typed(field: str, texts: pa.Array) -> tuple[pa.Array, Column]:
    """The column of a field's texts, and how to read it; null where an entry has no such field."""
    kind = kind_of(field)
    for kept in (kind, "text"):
        values, column = _written(field, kept, texts)
        if values is not None:
            return values, column
    raise AssertionError("text takes everything")


def texts(values: pa.Array, column: Column, first_row: int = 0) -> pa.Array:
    """The texts of a column, or of a slice of it that begins at `first_row`.

    They are as UTF-8 as the texts were: lone surrogates, which no other program can read, come back too.
    """
    plain = _plain(values, column, first_row)
    odd = {row - first_row: text for row, text in column.odd.items() if first_row <= row < first_row + len(values)}
    return _replaced(plain, odd) if odd else plain


def as_texts(values: Sequence[str | None]) -> pa.Array:
    """Texts as an Arrow array, whatever is in them."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        encoded = [None if text is None else text.encode("utf-8", "surrogatepass") for text in values]
        return pa.array(encoded, pa.binary()).view(pa.string())


def listed(array: pa.Array) -> list[str | None]:
    """The texts of an Arrow array."""
    try:
        return list(array.to_pylist())
    except UnicodeDecodeError:
        encoded = array.view(pa.binary()).to_pylist()
        return [None if text is None else text.decode("utf-8", "surrogatepass") for text in encoded]


def _written(field: str, kind: Kind, texts: pa.Array) -> tuple[pa.Array | None, Column]:
    """A field written as one kind; no values where too many texts would not come back."""
    best: tuple[pa.Array | None, Column] = None, Column(field, kind)
    fewest = len(texts) + 1 if kind == "text" else _MAX_ODD + 1
    failures = fewest if kind == "text" else max(16, min(len(texts) // 100, _MAX_ODD))
    for type_ in _TYPES[kind]:
        values = _cast(texts, type_, [failures])
        if values is None:
            continue
        column = Column(field, kind, _decimals(texts, values, type_.scale) if kind == "decimal" else 0)
        odd = _differing(texts, _plain(values, column, 0))
        if len(odd) < fewest:
            kept = dict(zip(odd, _picked(texts, odd), strict=True))
            best, fewest = (values, msgspec.structs.replace(column, odd=kept)), len(odd)
        if not odd:
            break
    return best


def _cast(texts: pa.Array, type_: pa.DataType, failures_left: list[int]) -> pa.Array | None:
    """Texts as values of a type, null where one is none; None where that are too many."""
    try:
        return _as_type(texts, type_)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            failures_left[0] -= 1
            return pa.nulls(1, type_)
    if failures_left[0] < 0:
        return None
    middle = len(texts) // 2
    halves = [_cast(half, type_, failures_left) for half in (texts[:middle], texts[middle:])]
    return None if failures_left[0] < 0 or any(half is None for half in halves) else _joined(halves)


def _joined(arrays: Sequence[pa.Array]) -> pa.Array:
    whole = pa.chunked_array(arrays)
    whole = whole.unify_dictionaries() if pa.types.is_dictionary(whole.type) else whole
    return whole.combine_chunks()


def _as_type(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    """Raises ArrowInvalid."""
    if pa.types.is_dictionary(type_):
        return texts.view(pa.binary()).cast(pa.string()).dictionary_encode()  # through bytes: checked to be UTF-8
    if pa.types.is_timestamp(type_):
        return texts.cast(pa.timestamp("us")).cast(type_)
    return (texts.view(pa.binary()) if pa.types.is_string(type_) else texts).cast(type_)


def _plain(values: pa.Array, column: Column, first_row: int) -> pa.Array:
    """The texts as the column alone gives them back."""
    match column.kind:
        case "decimal":
            return _decimal_texts(values, column.decimals, first_row)
        case "time":
            return pc.utf8_replace_slice(values.view(pa.timestamp("us")).cast(pa.string()), 10, 11, "T")
    return values.cast(pa.string())


def _decimals(texts: pa.Array, values: pa.Array, scale: int) -> int | str:
    dots = pc.find_substring(texts, ".")
    digits = pc.if_else(pc.less(dots, 0), 0, pc.subtract(pc.subtract(pc.binary_length(texts), dots), 1))
    ends = pc.min_max(digits)
    if ends["min"] == ends["max"]:
        return min(ends["max"].as_py() or 0, _DIGITS)
    if not _differing(texts, _decimal_texts(values, "short", 0)):
        return "short"
    counts = pc.fill_null(pc.min_element_wise(digits, _DIGITS), scale).cast(pa.uint8())
    return b85encode(zlib.compress(bytes(counts.to_pylist()))).decode()


def _decimal_texts(values: pa.Array, decimals: int | str, first_row: int) -> pa.Array:
    whole = _whole_decimals(values)
    scale = values.type.scale
    if isinstance(decimals, int):
        return _with_decimals(whole, scale, decimals)
    if decimals == "short":
        return pc.ascii_rtrim(pc.ascii_rtrim(whole, "0"), ".")
    counts = zlib.decompress(b85decode(decimals))[first_row : first_row + len(values)]
    each = pa.array(counts, pa.uint8())
    for count in set(counts) - {scale}:
        whole = pc.if_else(pc.equal(each, count), _with_decimals(whole, scale, count), whole)
    return whole


def _whole_decimals(values: pa.Array) -> pa.Array:
    """Decimals with all the digits of their scale."""
    texts = values.cast(pa.string())
    small = pc.fill_null(pc.match_substring(texts, "E"), False)  # Arrow writes 0.00000010 as 1.0E-7
    if not pc.any(small).as_py():
        return texts
    spelled = [f"{value:f}" for value in values.filter(small).to_pylist()]
    return pc.replace_with_mask(texts, small, pa.array(spelled, pa.string()))


def _with_decimals(whole: pa.Array, scale: int, decimals: int) -> pa.Array:
    if decimals >= scale:
        zeros = pa.scalar("0" * (decimals - scale))
        return whole if decimals == scale else pc.binary_join_element_wise(whole, zeros, "")
    return pc.utf8_slice_codeunits(whole, 0, -(scale - decimals + (decimals == 0)))


def _differing(texts: pa.Array, back: pa.Array) -> list[int]:
    """The rows of which another text came back."""
    other = pc.fill_null(pc.not_equal(texts.view(pa.binary()), back.view(pa.binary())), True)
    return list(pc.indices_nonzero(pc.and_(texts.is_valid(), other)).to_pylist())


def _picked(array: pa.Array, rows: Sequence[int]) -> Sequence[str]:
    return [text or "" for text in listed(array.take(pa.array(rows, pa.int64())))]


def _replaced(array: pa.Array, odd: Mapping[int, str]) -> pa.Array:
    whole = listed(array)
    for row, text in odd.items():
        whole[row] = text
    return as_texts(whole)


def _kind(hint: Any) -> Kind:
    if get_origin(hint) is UnionType:
        return _kind(get_args(hint)[0])
    return _KINDS_OF_TYPES.get(hint, "text")


_KINDS: dict[str, Kind] = {
    **{
        field: _kind(hint)
        for field, hint in chain.from_iterable(
            get_type_hints(kind).items() for kind in (DeadLetter, LedgerRecord, Trade, Kline, Gap)
        )
    },
    **dict.fromkeys(_WORDS, "word"),
    "strength": "decimal",
}
_TYPES: dict[Kind, tuple[Any, ...]] = {
    "decimal": tuple(pa.decimal128(_DIGITS, scale) for scale in SCALES),
    "integer": (pa.int64(),),
    "time": (pa.timestamp("us", "UTC"),),
    "flag": (pa.bool_(),),
    "word": (pa.dictionary(pa.int32(), pa.string()),),
    "text": (pa.string(),),
}
