"""Decimal text as venues send it: checked without ever becoming a float that is kept."""

_DIGITS = "0123456789."
MAX_DIGITS = 40


def is_positive(text: str) -> bool:
    """Whether text is a plain positive decimal: ASCII digits and one dot, at most 40 characters, more than zero.

    >>> [is_positive(text) for text in ("61837.63", "0.00", "1e5", "-1", "nan", "1_0", "１", "")]
    [True, False, False, False, False, False, False, False]
    """
    try:
        return not text.strip(_DIGITS) and float(text) > 0 and len(text) <= MAX_DIGITS
    except ValueError:
        return False


def are_positive(one: str, other: str) -> bool:
    """Whether both are what `is_positive` says, for a price and its quantity in one go.

    >>> are_positive("61837.63", "0.02"), are_positive("61837.63", "0"), are_positive("1", "1.2.3")
    (True, False, False)
    """
    digits = (one + other).replace(".", "")
    try:
        both = digits.isdigit() and digits.isascii() and float(one) > 0 and float(other) > 0
    except ValueError:
        return False
    return both and len(one) <= MAX_DIGITS and len(other) <= MAX_DIGITS


def is_amount(text: str) -> bool:
    """Like `is_positive`, and zero is an amount.

    >>> [is_amount(text) for text in ("0.00000000", "1.5", "-0", "", ".", "1.2.3")]
    [True, True, False, False, False, False]
    """
    try:
        return not text.strip(_DIGITS) and float(text) >= 0 and len(text) <= MAX_DIGITS
    except ValueError:
        return False
