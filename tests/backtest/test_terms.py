"""The terms of a backtest as people write them, and which make no sense."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptostream.backtest.terms import Size, Terms
from cryptostream.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100%", Size(1.0, "share")),
        (" 12.5 % ", Size(0.125, "share")),
        ("1000", Size(1000.0, "quote")),
        ("1e3 quote", Size(1000.0, "quote")),
        ("0.25 base", Size(0.25, "base")),
        (".25BASE", Size(0.25, "base")),
    ],
)
def test_size_is_a_share_or_an_amount(text: str, size: Size) -> None:
    assert Size.parse(text) == size
    assert Size.parse(str(size)) == size


@pytest.mark.parametrize(
    "text", ["", "%", "all", "-5%", "0%", "100.1%", "0", "nan", "inf", "1,000", "5 BTC", "1e99999"]
)
def test_what_is_no_size_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(UsageError, match="--size") as raised:
        Size.parse(text)
    assert raised.value.hint or "above 0" in str(raised.value)


@given(st.floats(0.01, 100.0) | st.floats(1e-6, 1e12), st.sampled_from(["%", "", " base"]))
def test_a_size_that_is_told_is_read_as_the_same(amount: float, unit: str) -> None:
    if unit != "%" or amount <= 100:
        size = Size.parse(f"{amount!r}{unit}")
        again = Size.parse(str(size))
        assert again.unit == size.unit
        assert again.amount == pytest.approx(size.amount, rel=1e-11)


@pytest.mark.parametrize(
    ("flag", "terms"),
    [
        ("--cash", {"cash": 0.0}),
        ("--cash", {"cash": float("inf")}),
        ("--fee-bps", {"fee_bps": -1.0}),
        ("--fee-bps", {"fee_bps": float("nan")}),
        ("--fee-bps", {"fee_bps": 10_000.0}),
        ("--slippage-bps", {"slippage_bps": -0.1}),
        ("--slippage-bps", {"slippage_bps": 10_000.0}),
        ("--latency", {"latency_ms": -1.0}),
        ("--latency", {"latency_ms": float("nan")}),
        ("--latency", {"latency_ms": 1.0, "fill": "bar-open"}),
        ("--fill", {"fill": "next-trades"}),
    ],
)
def test_terms_that_make_no_sense_are_refused_by_their_flag(flag: str, terms: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=flag):
        Terms(**terms)


def test_terms_are_told_as_plain_values() -> None:
    assert Terms(latency_ms=50.0, size=Size.parse("25%")).told() == {
        "cash": 10_000.0,
        "fee_bps": 10.0,
        "slippage_bps": 0.0,
        "latency_ms": 50.0,
        "size": "25%",
        "fill": "next-trade",
        "long_only": False,
    }
