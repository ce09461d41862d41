"""Decimal text is checked character by character, since a float would take far more."""

from decimal import Decimal, InvalidOperation

from hypothesis import given
from hypothesis import strategies as st

from cryptostream.model.text import are_positive, is_amount, is_positive

NEAR_NUMBERS = st.text(alphabet="0123456789.eE+-_ ninfa١１\n", max_size=45)


def plain(text: str) -> Decimal | None:
    """The number that text plainly is, by another way than the code's."""
    if not text or len(text) > 40 or any(letter not in "0123456789." for letter in text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


@given(NEAR_NUMBERS)
def test_only_plain_positive_decimals_are_positive(text: str) -> None:
    number = plain(text)
    assert is_positive(text) == (number is not None and number > 0)


@given(NEAR_NUMBERS)
def test_only_plain_decimals_are_amounts(text: str) -> None:
    assert is_amount(text) == (plain(text) is not None)


@given(NEAR_NUMBERS, NEAR_NUMBERS)
def test_two_are_positive_where_each_is(one: str, other: str) -> None:
    assert are_positive(one, other) == (is_positive(one) and is_positive(other))


EIGHT_PLACES = st.integers(1, 10**15).map(lambda number: f"{number / 10**8:.8f}")


@given(EIGHT_PLACES, EIGHT_PLACES | st.just("0.00000000"))
def test_real_prices_and_amounts_pass(price: str, amount: str) -> None:
    assert is_positive(price)
    assert is_amount(amount)
