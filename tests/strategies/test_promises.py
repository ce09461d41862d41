"""What every strategy promises, on random walks: silence in warm-up, no repeats, memory, and no look at the future."""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from cryptostream.model import memory
from cryptostream.model.codec import signal_fields
from cryptostream.model.events import Signal
from cryptostream.strategies.base import Strategy
from cryptostream.strategies.loading import make
from tests.strategies.market import QUICK, SIX, bar, bars, said, walk

every_strategy = pytest.mark.parametrize("name", SIX)


def quick(name: str) -> Any:
    return make(SIX[name], QUICK[name])


@every_strategy
def test_it_speaks_and_never_repeats_itself(name: str) -> None:
    sides = [signal.side for _, signal in said(quick(name), walk(1))]
    assert set(sides) >= {"buy", "sell"}
    assert all(one != other for one, other in pairwise(sides))


@every_strategy
@pytest.mark.parametrize("parameters", [{}, "quick"])
def test_it_is_silent_while_it_warms_up(name: str, parameters: Any) -> None:
    for seed in range(12):
        strategy = make(SIX[name], QUICK[name] if parameters else {})
        warm_up = strategy.warm_up
        assert said(strategy, walk(seed, warm_up)) == []
        assert strategy.warm_up == warm_up


@every_strategy
def test_the_bar_after_the_warm_up_may_be_one_that_it_speaks_at(name: str) -> None:
    first = min(number for seed in range(200) for number, _ in said(quick(name), walk(seed, 40))[:1])
    assert first == quick(name).warm_up + 1


@every_strategy
def test_its_values_are_ready_after_the_warm_up_and_finite(name: str) -> None:
    strategy = quick(name)
    assert set(strategy.values.values()) == {None}
    said(strategy, walk(3, strategy.warm_up))
    ready = strategy.values
    assert all(isinstance(value, float) for value in ready.values())
    assert list(ready) == list(quick(name).values)


@every_strategy
def test_its_signals_are_whole(name: str) -> None:
    strategy = quick(name)
    for one in walk(4):
        for signal in strategy.on_bar(one):
            assert signal.side in {"buy", "sell", "exit"}
            assert 0 <= signal.strength <= 1
            assert signal.reason
            assert signal.values == strategy.values


@every_strategy
def test_its_values_take_no_field_of_a_signal_away(name: str) -> None:
    strategy = quick(name)
    ((_, signal), *_) = said(strategy, walk(4))
    assert signal_fields(signal).keys() >= strategy.values.keys()


@every_strategy
def test_strengths_are_of_all_sizes(name: str) -> None:
    strengths = {signal.strength for _, signal in said(quick(name), walk(5, 2000)) if signal.side != "exit"}
    assert min(strengths) < max(strengths)


@every_strategy
def test_what_it_says_goes_on_as_it_was_after_any_cut(name: str) -> None:
    market = walk(6)
    whole, running = said(quick(name), market), quick(name)
    for cut in range(len(market)):
        if cut % 7 == 0 or cut < 20:
            restored = quick(name)
            memory.recall(restored, json.loads(json.dumps(memory.remembered(running))))
            assert [(cut + number, signal) for number, signal in said(restored, market[cut:])] == [
                (number, signal) for number, signal in whole if number > cut
            ]
        said(running, market[cut : cut + 1])


@every_strategy
def test_it_is_remembered_whole_at_every_bar(name: str) -> None:
    running, restored = quick(name), quick(name)
    for one in walk(7, 60):
        said(running, [one])
        memory.recall(restored, memory.remembered(running))
        assert memory.remembered(restored) == memory.remembered(running)
        assert restored.values == running.values


@every_strategy
def test_no_signal_changes_when_the_future_does(name: str) -> None:
    market = walk(8)
    whole = said(quick(name), market)
    for cut in range(0, len(market), 13):
        other = market[:cut] + walk(9, start=200.0)[: len(market) - cut]
        assert [each for each in said(quick(name), other) if each[0] <= cut] == [
            each for each in whole if each[0] <= cut
        ]


@every_strategy
def test_two_of_a_kind_know_nothing_of_each_other(name: str) -> None:
    one, other = quick(name), quick(name)
    market, elsewhere = walk(10), walk(11)
    mixed: list[tuple[int, Signal]] = []
    for number, (here, there) in enumerate(zip(market, elsewhere, strict=True), 1):
        mixed += [(number, signal) for signal in one.on_bar(here)]
        other.on_bar(there)
    assert mixed == said(quick(name), market)


@every_strategy
@pytest.mark.parametrize("price", [0.1, 1e-8 / 3, 64_321.07])
def test_a_market_at_rest_is_no_opinion(name: str, price: float) -> None:
    assert said(quick(name), bars([price] * 500)) == []
    assert said(make(SIX[name]), bars([price] * 700)) == []


@every_strategy
@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_the_level_of_the_price_does_not_matter(name: str, factor: float) -> None:
    market = walk(12)
    scaled = [bar(one.close * factor, one.high * factor, one.low * factor, at) for at, one in enumerate(market)]
    plain = [(number, signal.side, round(signal.strength, 6)) for number, signal in said(quick(name), market)]
    assert plain == [(at, signal.side, round(signal.strength, 6)) for at, signal in said(quick(name), scaled)]


@every_strategy
def test_a_bar_with_a_gap_is_a_bar(name: str) -> None:
    market = walk(13)
    gapped = [
        type(one)(**{field: getattr(one, field) for field in one.__struct_fields__} | {"gap": True}) for one in market
    ]
    assert said(quick(name), gapped) == said(quick(name), market)


@every_strategy
def test_it_keeps_the_contract_of_a_strategy(name: str) -> None:
    strategy: Strategy = quick(name)
    assert type(strategy.warm_up) is int
    assert isinstance(strategy.values, Mapping)
