"""A walk chooses on one stretch alone, and trades the next with what it chose: on a market whose every turn is known.

Each stretch of ten seconds jumps one way at its first trade, and goes on that way; the next one goes the other way. So
what is best on a stretch is worst on the next, and whoever is shown a single trade of it chooses otherwise.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryptostream.backtest.result import Result
from cryptostream.backtest.terms import Terms
from cryptostream.backtest.walk import Step
from cryptostream.cli import walking
from cryptostream.cli.backtesting import Combinations, Made, Wanted, combinations
from cryptostream.config import Config
from cryptostream.errors import DataQuality, UsageError
from cryptostream.model.events import Trade
from tests.backtest.traded import Klines, S, Trades, trade

LEANS = '''
from cryptostream.model.events import Signal


class Leans:
    """Says the same of every bar, and how many it has seen."""

    warm_up = 1

    def __init__(self, lean: int = 1) -> None:
        self.lean = lean
        self.seen = 0

    @property
    def values(self):
        return {"seen": self.seen}

    def on_bar(self, bar):
        self.seen += 1
        yield Signal("buy" if self.lean > 0 else "sell", values={"seen": self.seen})
'''
SILENT = '''
class Silent:
    """Has no opinion."""

    warm_up = 1
    values = {}

    def __init__(self, lean: int = 1) -> None:
        pass

    def on_bar(self, bar):
        return ()
'''
START = 1_731_605_400 * S
STRETCH = 10 * S
TICK = S // 4
MS = 1_000
TURNS = (1, -1, 1, -1, 1)
CASH = 1_000.0
Steps = list[tuple[Step, Result | None]]


def market(turns: tuple[int, ...] = TURNS) -> list[Trade]:
    """A trade every 250 ms, and one at the last millisecond of a stretch; of the last one, at its last microsecond."""
    found: list[Trade] = []
    price = 1_000.0
    for stretch, turn in enumerate(turns):
        price += 100 * turn
        for number in range(40):
            ts = START + stretch * STRETCH + number * TICK
            found.append(trade(len(found) + 1, ts, price + turn * number / 4))
        price += turn * 10
        found.append(trade(len(found) + 1, START + (stretch + 1) * STRETCH - MS, price))
    end = START + len(turns) * STRETCH - 1
    return [*found, trade(len(found) + 1, end, price)]


def wanted(**told: Any) -> Wanted:
    options: dict[str, Any] = {"mode": "auto", "jobs": 1, "by": "final", "source": "", **told}
    return Wanted(terms=Terms(cash=CASH, fee_bps=0.0), **options)


@pytest.fixture
def choice(tmp_path: Path) -> Callable[..., Combinations]:
    """Strategies out of a file, each with a parameter that says which way it leans."""
    for name, source in (("leans", LEANS), ("silent", SILENT)):
        (tmp_path / f"{name}.py").write_text(source)
    config = Config.model_validate({"plugins": {"paths": [str(tmp_path)]}})

    def make(*names: str, bars: str = "1s") -> Combinations:
        return combinations(config, names or ("leans.py",), None, ["lean=-1,1"], bars)

    return make


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """What the windows of a walk came to, each with the test it ran."""
    seen: Steps = []
    step = walking.step

    def noted(asked: Any) -> tuple[Step, Result | None]:
        seen.append(step(asked))
        return seen[-1]

    monkeypatch.setattr(walking, "step", noted)
    return seen


def walked(choice: Callable[..., Combinations], **told: Any) -> Made:
    return walking.walk(choice(), [Trades(market())], "10s/10s", wanted(**told))


@pytest.mark.parametrize("mode", ["bars", "events"])
def test_what_is_chosen_is_the_best_of_the_stretch_before_and_the_worst_of_the_one_it_is_tried_on(
    choice: Callable[..., Combinations], mode: str
) -> None:
    made = walked(choice, mode=mode)
    assert made.walk is not None
    assert [step.chosen for step in made.walk.steps] == [{"lean": turn} for turn in TURNS[:-1]]
    for step in made.walk.steps:
        assert step.train is not None
        assert step.test is not None
        assert step.train.final > CASH > step.test.final


def test_training_ends_with_the_last_trade_before_the_test_and_begins_with_the_first_of_its_stretch(
    choice: Callable[..., Combinations],
) -> None:
    made = walked(choice)
    assert made.walk is not None
    for number, step in enumerate(made.walk.steps):
        begins = START + number * STRETCH
        assert (step.window.train_start, step.window.test_start) == (begins, begins + STRETCH)
        assert step.train is not None
        assert (step.train.start, step.train.end) == (begins + S, begins + STRETCH - MS)
        assert step.train.signals == 9


@pytest.mark.parametrize("mode", ["bars", "events"])
def test_what_is_said_and_filled_in_a_test_lies_inside_it(
    choice: Callable[..., Combinations], steps: Steps, mode: str
) -> None:
    walked(choice, mode=mode)
    assert len(steps) == 4
    for step, test in steps:
        assert test is not None
        begins, ends = step.window.test_start, step.window.test_end
        book = test.pairs[0].books["leans"]
        assert [signal.ts for signal in book.signals] == [begins + second * S for second in range(10)]
        assert [fill.ts for fill in book.fills] == [begins + TICK]
        last = ends - 1 if step is steps[-1][0] else ends - MS
        assert book.ts.tolist() == [*(begins + second * S for second in range(10)), last]
        assert step.test is not None
        assert (step.test.start, step.test.end, step.test.signals) == (begins, last, 10)


def test_a_test_begins_with_all_its_cash_and_without_a_position(
    choice: Callable[..., Combinations], steps: Steps
) -> None:
    walked(choice)
    for _, test in steps:
        assert test is not None
        book = test.pairs[0].books["leans"]
        assert (book.equity[0], book.position[0]) == (CASH, 0.0)
        assert {trip.opened for trip in book.trips} == {fill.ts for fill in book.fills}


@pytest.mark.parametrize("mode", ["bars", "events"])
def test_indicators_are_warm_at_the_first_bar_of_a_test(
    choice: Callable[..., Combinations], steps: Steps, mode: str
) -> None:
    walked(choice, mode=mode)
    for _, test in steps:
        assert test is not None
        said = test.pairs[0].books["leans"].signals
        assert [signal.values["seen"] for signal in said] == list(range(10, 20))


def test_the_curve_is_that_of_the_tests_and_what_is_shown_has_what_the_last_window_chose(
    choice: Callable[..., Combinations],
) -> None:
    made = walked(choice)
    assert made.walk is not None
    left = CASH
    for step in made.walk.steps:
        assert step.test is not None
        left *= step.test.final / CASH
    assert made.walk.curve.figures.final == pytest.approx(left)
    assert made.walk.curve.ts[0] == START + STRETCH
    assert made.walk.curve.figures.signals == 40
    assert made.result.params == {"leans": {"lean": TURNS[-2]}}


def test_the_figure_that_is_asked_for_chooses_and_of_equals_the_first_is_taken(
    choice: Callable[..., Combinations],
) -> None:
    made = walked(choice, by="fills")
    assert made.walk is not None
    assert made.walk.figure == "fills"
    assert [step.chosen for step in made.walk.steps] == [{"lean": -1}] * 4


def test_a_walk_over_klines_trains_and_tests_on_whole_ones(choice: Callable[..., Combinations], steps: Steps) -> None:
    bars, price = [], 1_000.0
    for turn in TURNS:
        for number in range(10):
            opened = price + (0 if number else 100 * turn)
            price = opened + turn
            bars.append((opened, price))
    series = Klines([*bars, (price, price)])
    told = [bar.ts for bar in series.bars()]
    walking.walk(choice(), [series], "10m/10m", wanted())
    assert [step.chosen for step, _ in steps] == [{"lean": turn} for turn in TURNS[:-1]]
    for number, (step, test) in enumerate(steps):
        first = 10 * number
        assert step.train is not None
        assert (step.train.start, step.train.end) == (told[first], told[first + 9])
        assert test is not None
        book = test.pairs[0].books["leans"]
        assert [signal.ts for signal in book.signals] == told[first + 10 : first + 20]
        assert [signal.values["seen"] for signal in book.signals] == list(range(11, 21))
        assert [fill.entry_id for fill in book.fills] == [signal.entry_id for signal in book.signals[1:2]]


def test_times_that_are_given_bound_the_walk(choice: Callable[..., Combinations]) -> None:
    made = walked(choice, start=START + STRETCH, end=START + 4 * STRETCH + 1)
    assert made.walk is not None
    assert [step.window.train_start for step in made.walk.steps] == [START + STRETCH, START + 2 * STRETCH]
    with pytest.raises(UsageError, match="there is 20s of data"):
        walking.walk(choice(), [Trades(market())], "10s/15s", wanted(start=START + 3 * STRETCH))
    with pytest.raises(DataQuality, match="nothing between"):
        walked(choice, start=START + 10 * STRETCH)


def test_pairs_share_the_cash_of_a_walk(choice: Callable[..., Combinations], steps: Steps) -> None:
    renamed = [msgspec.structs.replace(one, pair="ETHUSDT") for one in market()]
    other = Trades(renamed, pair="ETHUSDT", stream="trades:ETHUSDT")
    walking.walk(choice(), [Trades(market()), other], "10s/10s", wanted())
    for _, test in steps:
        assert test is not None
        assert [pair.books["leans"].cash for pair in test.pairs] == [CASH / 2, CASH / 2]
        assert test.curves[0].figures.cash == CASH


def test_a_walk_that_can_choose_nothing_is_refused(choice: Callable[..., Combinations]) -> None:
    with pytest.raises(UsageError, match="no window has a win_rate to choose by"):
        walking.walk(choice("silent.py"), [Trades(market())], "10s/10s", wanted(by="win_rate"))


def test_a_walk_of_two_strategies_is_refused(choice: Callable[..., Combinations]) -> None:
    with pytest.raises(UsageError, match="a walk takes one strategy"):
        walking.walk(choice("leans.py", "silent.py"), [Trades(market())], "10s/10s", wanted())


@pytest.mark.parametrize("beyond_us", [0, 123])
def test_microseconds_of_the_data_change_nothing(choice: Callable[..., Combinations], beyond_us: int) -> None:
    """Ids have milliseconds: a window must not begin inside of one, or its training ends with trades of its test."""
    shifted = [trade(one.trade_id, one.ts + beyond_us, one.price) for one in market()[:-1]]
    last = trade(len(shifted) + 1, START + len(TURNS) * STRETCH + S, 1_000.0)
    made = walking.walk(choice(), [Trades([*shifted, last])], "10s/10s", wanted())
    assert made.walk is not None
    assert [step.chosen for step in made.walk.steps] == [{"lean": turn} for turn in TURNS[:-1]]
    assert {step.train.end % S for step in made.walk.steps if step.train is not None} == {S - MS + beyond_us}


def test_bars_are_those_of_the_strategy(choice: Callable[..., Combinations], steps: Steps) -> None:
    walking.walk(choice(bars="2s"), [Trades(market())], "10s/10s", wanted())
    assert all(test is not None and len(test.pairs[0].books["leans"].signals) == 5 for _, test in steps)


@pytest.mark.parametrize("mode", ["bars", "events"])
def test_of_bars_that_are_single_trades_those_of_the_test_are_heard(
    choice: Callable[..., Combinations], steps: Steps, mode: str
) -> None:
    walking.walk(choice(bars="tick:1"), [Trades(market())], "10s/10s", wanted(mode=mode))
    times = [one.ts for one in market()]
    for step, test in steps:
        assert test is not None
        said = [signal.ts for signal in test.pairs[0].books["leans"].signals]
        assert said == [ts for ts in times if step.window.test_start <= ts < step.window.test_end]
