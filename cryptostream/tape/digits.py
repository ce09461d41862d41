"""Decimals and entry ids of Arrow columns as numbers of numpy: those that Python reads from their texts."""

from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from cryptostream.backtest.block import Floats, Ints
from cryptostream.tape import text

_EXACT = 1 << 53
"""Every whole number below it is a float, and so is the right result of dividing one by a power of ten up to 10**22."""
_MS = 13  # digits of a time in milliseconds, from 2001 to 2286
_MOST = 18  # digits that an int64 holds whatever they are
_ZEROS = 0x3030303030303030


def floats(decimals: pa.Array) -> Floats:
    """What `float` makes of each decimal's text; anything where one is null."""
    scale = decimals.type.scale
    words = np.frombuffer(decimals.buffers()[1], np.int64, 2 * len(decimals), 16 * decimals.offset).reshape(-1, 2)
    low, high = words[:, 0], words[:, 1]
    made: Floats = low / 10.0**scale
    if high.any() or _out_of_reach(low):
        _mend(made, decimals, low, high)
    return made


def _out_of_reach(low: Ints) -> bool:
    return len(low) > 0 and (int(low.min()) <= -_EXACT or int(low.max()) >= _EXACT)


def _mend(made: Floats, decimals: pa.Array, low: Ints, high: Ints) -> None:
    """Those that are too long to be divided: without the zeros at their end first, and else by their text."""
    small = (low >> 63) == high
    ten = 10**decimals.type.scale
    short = small & (low % ten == 0) & (np.abs(low // ten) < _EXACT)
    made[short] = low[short] // ten
    rows = np.flatnonzero(~short & ~(small & (np.abs(low) < _EXACT)))
    texts = decimals.take(pa.array(rows)).cast(pa.string()).to_pylist()
    made[rows] = [0.0 if one is None else float(one) for one in texts]


def whole_numbers(column: pa.Array) -> Ints:
    """Integers, or times in their unit, as they lie in memory; anything where one is null."""
    return np.frombuffer(column.buffers()[1], np.int64, len(column), 8 * column.offset)


def rise(ms: Ints, sequence: Ints) -> bool:
    """Whether each id, by its halves, is above the one before it."""
    later, same = ms[1:] > ms[:-1], ms[1:] == ms[:-1]
    return bool((later | (same & (sequence[1:] > sequence[:-1]))).all())


def halves(ids: pa.Array) -> tuple[Ints, Ints]:
    """The two numbers of each entry id. Raises ArrowInvalid for what is none."""
    if not len(ids):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return _fast_halves(ids) or (_ints(text.millis(ids)), _ints(text.sequences(ids)))


def _ints(numbers: pa.Array) -> Ints:
    made: Ints = numbers.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return made


def _fast_halves(ids: pa.Array) -> tuple[Ints, Ints] | None:
    """As `halves`; None for ids that are not alike: of one length each, the first numbers of thirteen digits."""
    offsets, content = ids.buffers()[1:]
    ends = np.frombuffer(offsets, np.int32, len(ids) + 1, 4 * ids.offset)
    length = int(ends[1] - ends[0])
    if not _MS + 1 < length <= _MS + 1 + _MOST or ids.null_count or (np.diff(ends) != length).any():
        return None
    letters = np.frombuffer(content, np.uint8, len(ids) * length, int(ends[0])).reshape(-1, length)
    if (letters[:, _MS] != ord("-")).any():
        return None
    ms, sequence = _number(letters, 0, _MS), _number(letters, _MS + 1, length)
    return None if ms is None or sequence is None else (ms, sequence)


def _number(letters: NDArray[np.uint8], start: int, stop: int) -> Ints | None:
    """The numbers between two columns of letters; None where not all are digits."""
    made: Any = None
    for power in range(0, stop - start, 8):
        words = _eight(letters, max(start, stop - power - 8), stop - power)
        read = _constant(words) if power else _parsed(words)
        read = _parsed(words) if read is None else read
        if read is None:
            return None
        made = read if made is None else made + read * 10**power
    number: Ints = made
    return number


def _eight(letters: NDArray[np.uint8], start: int, stop: int) -> NDArray[np.uint64]:
    """Up to eight letters of each row as one word, the last of them in its highest byte, zeros before the first."""
    at = max(0, stop - 8)
    words = np.ndarray(len(letters), "<u8", letters, at, (letters.shape[1],))
    if stop - at < 8:
        words = words << np.uint64(8 * (8 - stop))
    kept = (1 << 64) - (1 << 8 * (8 - stop + start))
    mixed: NDArray[np.uint64] = words ^ np.uint64(_ZEROS)
    return mixed & np.uint64(kept) if stop - start < 8 else mixed


def _constant(words: NDArray[np.uint64]) -> Ints | None:
    """What they all say where they all say the same: the first digits of many ids in a row."""
    return _parsed(words[:1]) if (words == words[0]).all() else None


def _parsed(words: NDArray[np.uint64]) -> Ints | None:
    """The number of eight digits, the first in the lowest byte; None where a byte is no digit.

    Three steps for all digits of a word at once: pairs, fours, eights.
    """
    beyond = words + np.uint64(0x0606060606060606)
    beyond |= words
    if int(np.bitwise_or.reduce(beyond)) & 0xF0F0F0F0F0F0F0F0:
        return None
    pairs = words * np.uint64(10)
    pairs += words >> np.uint64(8)
    odd = pairs >> np.uint64(16)
    pairs &= np.uint64(0x000000FF000000FF)
    pairs *= np.uint64(0x000F424000000064)
    odd &= np.uint64(0x000000FF000000FF)
    odd *= np.uint64(0x0000271000000001)
    pairs += odd
    pairs >>= np.uint64(32)
    made: Ints = pairs.view(np.int64)
    return made
