"""What a backtest assumes: the money it starts with, what trading costs, how much is bought, when orders are filled."""

import re
from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

from cryptostream.errors import UsageError
from cryptostream.registry import did_you_mean

Fill = Literal["next-trade", "bar-open"]
Unit = Literal["share", "quote", "base"]

_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:e([+-]?\d{1,2}))?\s*(%|quote|base)?", re.ASCII | re.IGNORECASE)
_UNITS: dict[str, Unit] = {"%": "share", "quote": "quote", "": "quote", "base": "base"}
_HINT = "a share of the equity (100%), an amount of the quote currency (1000) or of the base currency (0.25 base)"


@dataclass(frozen=True, slots=True)
class Size:
    """How much an entry takes: a share of the equity (`amount` 1.0 is 100 %), or an amount of a currency."""

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Read a size: `NUMBER%` of the equity at the time of the fill, `NUMBER` or `NUMBER quote` of the quote
        currency, `NUMBER base` of the base currency.

        >>> Size.parse("50%"), Size.parse("1000"), Size.parse("0.25 base")
        (Size(amount=0.5, unit='share'), Size(amount=1000.0, unit='quote'), Size(amount=0.25, unit='base'))

        Raises UsageError.
        """
        match = _SIZE.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"--size {text[:40]!a} is no size", hint=_HINT)
        number, power, unit = match.groups()
        amount = float(f"{number}e{power or 0}")
        if unit != "%":
            return cls(_checked("--size", amount, above=0), _UNITS[(unit or "").lower()])
        if not 0 < amount <= 100:
            hint = "above 0% and up to 100%: nothing is borrowed to buy"
            raise UsageError(f"--size {text[:40]!a} is no share of the equity", hint=hint)
        return cls(amount / 100, "share")

    def __str__(self) -> str:
        """As it is read again.

        >>> str(Size.parse("50%")), str(Size.parse("1000")), str(Size.parse(".25 base"))
        ('50%', '1000', '0.25 base')
        """
        amount = f"{self.amount * 100:.12g}" if self.unit == "share" else repr(self.amount).removesuffix(".0")
        return amount + {"share": "%", "quote": "", "base": " base"}[self.unit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of a backtest, each with its flag of the command line. Raises UsageError for those that make no sense.

    Orders are filled by the `next-trade`, or at the open of the next bar (`bar-open`).
    """

    cash: float = 10_000.0
    """In the quote currency, for each strategy on each pair."""
    fee_bps: float = 10.0
    """Of what a fill is worth, in hundredths of a percent."""
    slippage_bps: float = 0.0
    """How much worse than the trade that fills it an order is filled."""
    latency_ms: float = 0.0
    """From the signal to when the order can be filled, by the clock of the trades."""
    size: Size = Size(1.0, "share")
    fill: Fill = "next-trade"
    long_only: bool = False
    """Whether a `sell` only closes a long position, and never opens a short one."""

    def __post_init__(self) -> None:
        _checked("--cash", self.cash, above=0)
        _checked("--fee-bps", self.fee_bps, least=0, below=10_000)
        _checked("--slippage-bps", self.slippage_bps, least=0, below=10_000)
        _checked("--latency", self.latency_ms, least=0, below=86_400_000.0 * 366)
        if self.fill not in get_args(Fill):
            hint = did_you_mean(self.fill, get_args(Fill)) or f"known: {', '.join(get_args(Fill))}"
            raise UsageError(f"--fill {self.fill!r:.40} is unknown", hint=hint)
        if self.latency_ms and self.fill == "bar-open":
            hint = "leave out --latency, or fill with the next trade"
            raise UsageError("--latency says nothing where orders are filled at the open of the next bar", hint=hint)

    @property
    def latency_us(self) -> int:
        return round(self.latency_ms * 1_000)

    def told(self) -> dict[str, str | float | bool]:
        """The terms as plain values, for the result."""
        return {
            "cash": self.cash,
            "fee_bps": self.fee_bps,
            "slippage_bps": self.slippage_bps,
            "latency_ms": self.latency_ms,
            "size": str(self.size),
            "fill": self.fill,
            "long_only": self.long_only,
        }


def _checked(
    flag: str, value: float, *, least: float | None = None, above: float | None = None, below: float | None = None
) -> float:
    if not isfinite(value):
        raise UsageError(f"{flag} {value!r} is no number")
    if least is not None and value < least:
        raise UsageError(f"{flag} {value:g} is below {least:g}")
    if above is not None and value <= above:
        raise UsageError(f"{flag} {value:g} is not above {above:g}")
    if below is not None and value >= below:
        raise UsageError(f"{flag} {value:g} is not below {below:g}")
    return value
