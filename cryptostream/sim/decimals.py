"""Prices and quantities as integers of 1e-8, so that every sum over them is exact."""

E8 = 10**8


def decimal(value_e8: int) -> str:
    """Eight decimals, as the exchange writes them.

    >>> decimal(6_183_763_000_000)
    '61837.63000000'
    """
    sign = "-" if value_e8 < 0 else ""
    whole, rest = divmod(abs(value_e8), E8)
    return f"{sign}{whole}.{rest:08d}"
