"""A filter's grammar, how it reads fields, and what it says about mistakes."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from operator import add, eq, ge, gt, le, lt, mul, ne, sub
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.model.events import Entry
from cryptostream.transforms import where
from cryptostream.transforms.tokens import WhereError

TRADE = {
    "exchange": "binance",
    "pair": "BTCUSDT",
    "price": "45123.50000000",
    "qty": "3.00000000",
    "ts": "2024-11-14T17:30:00.123000",
    "side": "buy",
    "trade_id": "12345678",
}
KLINE = {"pair": "BTCUSDT", "open": "9.0", "close": "10.0", "volume": "4", "taker_buy_volume": "3", "closed": "true"}
GAP = {"kind": "gap", "pair": "BTCUSDT", "gap_from": "17", "gap_to": "19"}


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        ('qty*price>1e5 and side=="buy"', TRADE, True),
        ('qty*price>1e5 and side=="sell"', TRADE, False),
        ("price == 45123.5", TRADE, True),
        ("price == 45123.50000001", TRADE, False),
        ("trade_id == 12345678", TRADE, True),
        ("45000 < price <= 45123.5", TRADE, True),
        ("45000 < price < 45123.5", TRADE, False),
        ("price - 45000 == 123.5", TRADE, True),
        ("-qty < 0 and --qty > 0", TRADE, True),
        ("1 + 2 * 3 == 7 and (1 + 2) * 3 == 9", TRADE, True),
        ("8 - 4 - 2 == 2 and 8 / 4 / 2 == 1", TRADE, True),
        ("0.1 + 0.2 == 0.3", TRADE, True),
        ("side != 'sell'", TRADE, True),
        ('pair in ("BTCUSDT", "ETHUSDT")', TRADE, True),
        ('pair not in ("BTCUSDT", "ETHUSDT")', TRADE, False),
        ("qty in (1, 3)", TRADE, True),
        ('ts >= "2024-11-14T17:30"', TRADE, True),
        ('side == "sell" or qty == 3 and price > 1', TRADE, True),
        ('(side == "sell" or qty == 3) and price < 1', TRADE, False),
        ("not price < 1", TRADE, True),
        ("not not price < 1", TRADE, False),
        ("NOT price < 1 AND TRUE", TRADE, True),
        ("closed", KLINE, True),
        ("not closed", KLINE, False),
        ("closed == true", KLINE, True),
        ("closed != false", KLINE, True),
        ("open < close", KLINE, True),
        ("taker_buy_volume / volume > 0.7", KLINE, True),
        ('kind == "gap" and gap_to - gap_from + 1 == 3', GAP, True),
    ],
)
def test_filter_reads_an_entry(text: str, fields: Mapping[str, str], expected: bool) -> None:
    assert where.compile(text)(fields) is expected


@pytest.mark.parametrize(
    "text",
    [
        "price > 1",
        "price < 1",
        "price != 1",
        "price == qty",
        "price * 2 > qty",
        'side != "buy"',
        'side in ("buy", "sell")',
        'side not in ("buy", "sell")',
        "closed",
        "closed != true",
        "pair > 1",
        "gap_from / 0 > 1",
        "gap_from / 0 != 1",
    ],
)
def test_comparison_with_what_is_missing_or_unreadable_does_not_hold(text: str) -> None:
    assert where.compile(text)(GAP) is False


@pytest.mark.parametrize("price", ["nan", "inf", "-Infinity", "sNaN", "", "12,5", "1e99999999999999999999", "x" * 5000])
def test_text_that_is_no_number_is_not_compared_as_one(price: str) -> None:
    assert where.compile("price > 0 or price <= 0 or price != price * 1")({"price": price}) is False


@pytest.mark.parametrize("price", ["1e999999", "-1e999999", "1e-999999", "9" * 5000])
def test_extreme_numbers_are_answered_at_once(price: str) -> None:
    assert where.compile("price * price * price > 0 or price * price <= 0 or price != 0")({"price": price}) is True


def test_stream_and_entry_id_can_be_named() -> None:
    entry = Entry("trades:BTCUSDT", "1731605400123-1", {"price": "2"})
    assert where.compile('stream == "trades:BTCUSDT" and entry_id > "1731605400123" and price > 1')(where.facts(entry))


@pytest.mark.parametrize(
    ("text", "at", "message", "hint"),
    [
        ("", 0, "it is empty", "for example"),
        ("   ", 0, "it is empty", "for example"),
        ("price >", 7, "found the end", ""),
        ("price > > 3", 8, 'found ">"', ""),
        ("price = 3", 6, 'found "="', 'did you mean "=="?'),
        ("price > 1 && qty > 1", 10, 'found "&&"', 'did you mean "and"?'),
        ("!closed", 0, 'found "!"', 'did you mean "not"?'),
        ("prise > 1", 0, 'no entry has a field "prise"', 'did you mean "price"?'),
        ("side == buyer", 8, 'no entry has a field "buyer"', 'text goes in quotes, "buyer"'),
        ('side == "buy', 8, "this quote is never closed", ""),
        ("price > 1 $", 10, "unexpected '$'", ""),
        ("(price > 1", 10, 'expected ")"', ""),
        ("price > 1)", 9, 'found ")"', ""),
        ("price > 1 qty", 10, 'found "qty"', ""),
        ("price", None, "", ""),
        ("price + 1", 0, "this is not a condition", ""),
        ('"buy"', 0, "this is not a condition", ""),
        ("qty > 1 and 2", 12, "this is not a condition", ""),
        ("(qty > 1) + 1 > 2", 1, "this is a condition, not a value", "and, or"),
        ("price in 5", 9, 'expected "("', ""),
        ("price in ()", 10, 'found ")"', ""),
        ("price not 5", 10, 'expected "in"', ""),
        ("1e9999999999 > price", 0, "the number is too large", ""),
        ("(" * 21 + "price > 1" + ")" * 21, 20, "more than 20 parentheses", ""),
        ("price > 1 and " * 100, 1000, "longer than 1000", ""),
    ],
)
def test_mistake_is_named_at_its_place(text: str, at: int | None, message: str, hint: str) -> None:
    if at is None:
        assert where.compile(text)({"price": "1"}) is False
        return
    with pytest.raises(WhereError) as raised:
        where.compile(text)
    what, shown, caret = str(raised.value).split("\n")
    assert message in what
    assert hint in raised.value.hint
    assert shown[caret.index("^") :].rstrip() == text[at : at + 40].rstrip()


def test_names_of_other_entries_are_allowed_when_they_are_known() -> None:
    with pytest.raises(WhereError):
        where.compile("rsi > 70")
    assert where.compile("rsi > 70", known={"rsi"})({"rsi": "71.5"})
    assert where.compile("rsi > 70", known=None)({"rsi": "71.5"})


@pytest.mark.parametrize("part", ["not ", "-", "price + ", "price < ", "closed and ", "closed or "])
def test_repetition_up_to_the_longest_filter_needs_no_deeper_stack(part: str) -> None:
    text = part * (990 // len(part)) + ("closed" if part in ("not ", "closed and ", "closed or ") else "price")
    where.compile(text if "-" not in part and "+" not in part else f"{text} > 1")({"closed": "true", "price": "1"})


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from([*"()<>=!&|+-*/,.'\" 1e9", "price", "not", "in", "and"])).map("".join)
)
def test_no_text_raises_anything_but_its_own_error(text: str) -> None:
    try:
        holds = where.compile(text)
    except WhereError as error:
        assert "\n" in str(error)
    else:
        assert isinstance(holds(TRADE), bool)


@given(st.dictionaries(st.sampled_from(["price", "qty", "side", "closed"]), st.text(max_size=12)))
def test_no_entry_makes_a_filter_raise(fields: dict[str, str]) -> None:
    text = "price*qty/price > -qty or closed or side == true or price < side or not price in (1, 'a', qty)"
    assert isinstance(where.compile(text)(fields), bool)


# An oracle: expressions as (text with no needless parentheses, what Python makes of it, how tightly it binds).
Made = tuple[str, Any, int]
NUMBERS = {"price": "1.50", "qty": "-2", "open": "0.0", "close": "7"}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {"==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_ARITHMETIC: dict[str, tuple[Callable[[Any, Any], Any], int]] = {"+": (add, 1), "-": (sub, 1), "*": (mul, 2)}


def bound(made: Made, tightness: int) -> str:
    return made[0] if made[2] >= tightness else f"({made[0]})"


def calculated(left: Made, sign: str, right: Made) -> Made:
    calculate, tightness = _ARITHMETIC[sign]
    text = f"{bound(left, tightness)} {sign} {bound(right, tightness + 1)}"
    return text, calculate(left[1], right[1]), tightness


def compared(left: Made, sign: str, right: Made) -> Made:
    return f"{left[0]} {sign} {right[0]}", _COMPARE[sign](left[1], right[1]), 3


def joined(parts: list[Made], word: str) -> Made:
    tightness = {"or": 1, "and": 2}[word]
    text = f" {word} ".join(bound(part, tightness + 1) for part in parts)
    return text, (any if word == "or" else all)(part[1] for part in parts), tightness if len(parts) > 1 else 0


names = st.sampled_from(sorted(NUMBERS)).map(lambda name: (name, Decimal(NUMBERS[name]), 4))
numbers = st.integers(0, 9).map(lambda number: (str(number), Decimal(number), 4))
values: st.SearchStrategy[Made] = st.recursive(
    names | numbers,
    lambda inner: (
        st.builds(calculated, inner, st.sampled_from(sorted(_ARITHMETIC)), inner)
        | inner.map(lambda made: (f"-{bound(made, 3)}", -made[1], 3))
    ),
    max_leaves=6,
)
conditions: st.SearchStrategy[Made] = st.recursive(
    st.builds(compared, values, st.sampled_from(sorted(_COMPARE)), values),
    lambda inner: (
        inner.map(lambda made: (f"not {bound(made, 3)}", not made[1], 3))
        | st.builds(joined, st.lists(inner, min_size=1, max_size=3), st.sampled_from(["and", "or"]))
    ),
    max_leaves=8,
)


@given(conditions)
def test_generated_conditions_mean_what_python_means(made: Made) -> None:
    text, expected, _ = made
    if len(text) <= where.MAX_LENGTH:
        assert where.compile(text)(NUMBERS) is expected
