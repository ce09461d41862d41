"""Rows of features: names and order, when they begin, what is in them, and that they know nothing of the future."""

import math
import random
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from cryptostream.model import memory
from cryptostream.model.events import Bar, Micros
from cryptostream.transforms.features import Feature, Features, Of, Range, Returns, TakerShare, VolumeZ


def bar(
    close: float, *, number: int = 0, high: float = 0, low: float = 0, volume: float = 1, bought: float = 0.5
) -> Bar:
    return Bar(
        entry_id=f"{number + 1}-0",
        exchange="binance",
        pair="BTCUSDT",
        interval="1m",
        open_time=60_000 * number,
        close_time=60_000 * number + 59_999,
        open=close,
        high=high or close,
        low=low or close,
        close=close,
        volume=volume,
        quote_volume=volume * close,
        trades=1,
        taker_buy_volume=bought,
        gap=False,
        ts=Micros(60_000_000 * number),
    )


def market(length: int) -> list[Bar]:
    chance = random.Random(7)
    closes = [100 + chance.gauss(0, 5) for _ in range(length)]
    return [bar(close, number=number, volume=chance.random()) for number, close in enumerate(closes)]


class Spread:
    """An indicator of two numbers, of which the second comes later."""

    def __init__(self) -> None:
        self.seen = 0

    def read(self, one: Bar) -> Mapping[str, float]:
        self.seen += 1
        return {"both": one.close} if self.seen < 3 else {"both": one.close, "late": float(self.seen)}


def spread() -> Of:
    return Of(Spread(), lambda indicator, one: indicator.read(one), ("both", "late"), 3)


def all_of_them() -> Features:
    return Features(
        {
            "ret": Returns(2),
            "both": spread(),
            "log": Returns(1, log=True),
            "reach": Range(),
            "volume": VolumeZ(4),
            "bought": TakerShare(),
        }
    )


def test_names_are_those_declared_in_their_order_and_spread_where_there_are_several() -> None:
    assert Features({"x": spread(), "both": spread(), "ret": Returns(1)}).names == [
        *("x_both", "x_late", "both", "both_late", "ret")
    ]


def test_row_comes_with_the_bar_that_makes_the_last_feature_ready() -> None:
    features = all_of_them()
    rows = [features.update(one) for one in market(6)]
    assert features.warm_up == 4
    assert [row is not None for row in rows] == [False, False, False, True, True, True]
    assert all(list(row) == features.names for row in rows if row is not None)


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        (Returns(1), [None, 10 / 8 - 1, 9 / 10 - 1]),
        (Returns(2), [None, None, 9 / 8 - 1]),
        (Returns(1, log=True), [None, math.log(10 / 8), math.log(9 / 10)]),
        (Range(), [(12 - 6) / 8, (12 - 6) / 10, (12 - 6) / 9]),
        (VolumeZ(2), [None, 1.0, 0.0]),
        (TakerShare(), [0.25, 0.0, 0.5]),
    ],
)
def test_feature_is_what_it_says(feature: Feature, expected: list[float | None]) -> None:
    bars = [
        bar(8, high=12, low=6, volume=2, bought=0.5),
        bar(10, high=12, low=6, volume=4, bought=0),
        bar(9, high=12, low=6, volume=4, bought=2),
    ]
    assert [told[0] if (told := feature.update(one)) else None for one in bars] == expected


def test_bar_in_which_nothing_traded_makes_no_nan() -> None:
    quiet = bar(5, volume=0, bought=0)
    features = Features({"volume": VolumeZ(2), "bought": TakerShare(), "reach": Range()})
    assert [features.update(quiet), features.update(quiet)] == [None, {"volume": 0.0, "bought": 0.5, "reach": 0.0}]


def test_feature_that_is_not_finite_is_told_by_its_name() -> None:
    features = Features({"ret": Returns(1), "odd": Of(None, lambda _, one: {"": one.volume * math.inf}, ("",), 1)})
    assert features.update(bar(1)) is None
    with pytest.raises(ValueError, match="the feature odd is inf"):
        features.update(bar(2))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Returns(0), "lag is 0"),
        (lambda: Returns(True), "lag is True"),
        (lambda: VolumeZ(1), "period is 1"),
        (lambda: VolumeZ(1001), "period is 1001"),
        (lambda: Features({}), "there are no features"),
        (lambda: Features({"a": spread(), "a_both": Range()}), ""),
    ],
)
def test_parameters_that_make_no_sense_are_refused(made: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message or "two features are called a_both"):
        made()


def test_no_row_changes_when_the_future_is_cut_off() -> None:
    bars = market(40)
    features = all_of_them()
    whole = [features.update(one) for one in bars]
    for length in range(1, len(bars) + 1):
        features = all_of_them()
        assert repr([features.update(one) for one in bars[:length]]) == repr(whole[:length])


def test_restart_at_any_bar_does_not_show() -> None:
    bars = market(30)
    features = all_of_them()
    whole = [features.update(one) for one in bars]
    for cut in range(len(bars)):
        before, after = all_of_them(), all_of_them()
        for one in bars[:cut]:
            before.update(one)
        memory.recall(after, msgspec.msgpack.decode(msgspec.msgpack.encode(memory.remembered(before))))
        assert repr([after.update(one) for one in bars[cut:]]) == repr(whole[cut:])


def test_memory_of_other_features_is_refused() -> None:
    with pytest.raises(ValueError, match="other features: ret"):
        memory.recall(all_of_them(), memory.remembered(Features({"ret": Returns(1)})))
