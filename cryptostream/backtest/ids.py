"""The entry ids of many trades at once: their digits come from a table, four at a time, and not from a format of each.

A third of the time of f-strings, and the ids are the better half of what an event costs. An array of text holds each
sign as a number of 32 bits in the byte order of the machine, so digits are written as such numbers, column by column,
and read as text.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Signs = NDArray[np.uint32]

_FEW = 200
"""Of fewer than these, formats are the quicker way."""
_AT_ONCE = 4
_MANY = 10**_AT_ONCE
_ZERO, _HYPHEN = ord("0"), ord("-")
_DIGITS: Signs = (np.arange(_MANY)[:, None] // (1000, 100, 10, 1) % 10 + _ZERO).astype(np.uint32)
_TEXTS = _DIGITS.view(f"U{_AT_ONCE}").ravel()
"""From 0000 to 9999."""


def entry_ids(ms: Ints, sequence: Ints) -> list[str]:
    """The two halves of each id, joined by a hyphen.

    >>> entry_ids(np.array([1731605400123, 1731605400124]), np.array([42, 43]))
    ['1731605400123-42', '1731605400124-43']
    """
    if len(ms) < _FEW or (left := _width(ms)) is None or (right := _width(sequence)) is None:
        return [f"{one}-{other}" for one, other in zip(ms.tolist(), sequence.tolist(), strict=True)]
    width = left + 1 + right
    signs = np.empty((len(ms), width), np.uint32)
    _write(signs[:, :left], ms)
    signs[:, left] = _HYPHEN
    _write(signs[:, left + 1 :], sequence)
    made: list[str] = signs.view(f"U{width}").ravel().tolist()
    return made


def _width(numbers: Ints) -> int | None:
    """How many digits each of the numbers has; None where they differ in that, or one is below zero."""
    least, most = int(numbers.min()), int(numbers.max())
    width = len(str(most))
    return width if least >= 0 and len(str(least)) == width else None


def _write(signs: Signs, numbers: Ints) -> None:
    """Write numbers of so many digits as there are columns, from the right."""
    end = signs.shape[1]
    while end:
        if numbers.min() == numbers.max():  # as the first digits of neighbours are
            signs[:, :end] = [ord(digit) for digit in str(numbers[0])]
            return
        above = numbers // _MANY
        last = numbers - above * _MANY
        if end >= _AT_ONCE:
            signs[:, end - _AT_ONCE : end].view(_TEXTS.dtype)[:, 0] = _TEXTS.take(last)
        else:
            signs[:, :end] = _DIGITS[last, _AT_ONCE - end :]
        numbers, end = above, max(0, end - _AT_ONCE)
