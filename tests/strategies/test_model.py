"""Models: what they learn and when, what they say, what survives a restart, which files are taken, what docs show."""

import os
import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from cryptostream.errors import ConfigError, CryptostreamError, NotFound, UsageError
from cryptostream.model import memory
from cryptostream.model.events import Bar
from cryptostream.strategies import loading
from cryptostream.strategies.model import Model, features, learning
from cryptostream.strategies.model.learning import ESTIMATORS, MARK, OPTIMISERS, SCALERS
from tests.strategies.market import bar, bars, said, walk

DOCS = Path(__file__).parents[2] / "docs" / "learning.md"
FEW = {"ret_1": {"returns": 1}, "ret_3": {"returns": 3}, "rsi": {"rsi": {"period": 3}}}
QUICK: dict[str, Any] = {"features": FEW, "lessons": 5}


@pytest.fixture
def river() -> Any:
    return pytest.importorskip("river", reason="river is not installed (extra ml)")


@pytest.fixture
def onnx() -> Any:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra ml)")
    return pytest.importorskip("onnx", reason="onnx is not installed")


class Told:
    """An estimator that says what it is told to, and writes down what it is asked and taught."""

    def __init__(self, *predictions: float) -> None:
        self.predictions = list(predictions)
        self.calls: list[Any] = []

    def predict_one(self, row: dict[str, float]) -> float:
        self.calls.append(["predict", dict(row)])
        return self.predictions.pop(0) if self.predictions else 0.0

    def learn_one(self, row: dict[str, float], outcome: float) -> None:
        self.calls.append(["learn", dict(row), outcome])


class Odds(Told):
    """The same, of probabilities."""

    def predict_proba_one(self, row: dict[str, float]) -> dict[bool, float]:
        chance = self.predict_one(row)
        return {True: chance, False: 1 - chance}


def saying(*predictions: float, kind: type[Told] = Odds, **parameters: Any) -> list[str | None]:
    """The sides that a model with these predictions gives, one for each bar."""
    told = {"features": {"reach": "range"}, "lessons": 0, **parameters}
    strategy = Model(estimator=kind(*predictions), **told)
    given = [list(strategy.on_bar(one)) for one in bars(range(1, len(predictions) + 1))]
    return [signals[0].side if signals else None for signals in given]


def predictions(strategy: Model, market: Sequence[Bar]) -> list[str]:
    found = []
    for one in market:
        signals = [*strategy.on_bar(one)]
        found.append(repr((signals, dict(strategy.values))))
    return found


def restarted(strategy: Model, make: Callable[[], Model]) -> Model:
    """What is there after a restart: a new one, with what the old one remembered."""
    saved = msgspec.msgpack.encode(memory.remembered(strategy))
    other = make()
    memory.recall(other, msgspec.msgpack.decode(saved))
    assert msgspec.msgpack.encode(memory.remembered(other)) == saved
    return other


# What it says


def test_signal_is_given_when_a_threshold_is_crossed_and_not_repeated() -> None:
    sides = saying(0.5, 0.6, 0.9, 0.5, 0.5, 0.4, 0.1, 0.8, 0.55, 0.45)
    assert sides == [None, "buy", None, "exit", None, "sell", None, "buy", "exit", None]


def test_opinion_is_held_until_the_other_side_where_that_is_wanted() -> None:
    assert saying(0.6, 0.5, 0.6, 0.4, 0.5, 0.6, hold=True) == ["buy", None, None, "sell", None, "buy"]


def test_prediction_of_a_return_has_its_own_thresholds() -> None:
    sides = saying(0.001, 0.003, 0.0, -0.003, kind=Told, buy_above=0.002, sell_below=-0.002)
    assert sides == [None, "buy", "exit", "sell"]


def test_strength_comes_from_the_prediction_and_values_hold_it() -> None:
    strategy = Model(estimator=Odds(0.75, 0.5, 0.05), features={"reach": "range"}, lessons=0)
    buy, leave, sell = (signal for _, signal in said(strategy, bars([1, 2, 3])))
    assert (buy.strength, leave.strength, sell.strength) == (0.5, 1.0, 0.9)
    assert buy.values == {"reach": 0.0, "prediction": 0.75}
    assert buy.reason == "prediction 0.75 above 0.55"


def test_strength_of_a_predicted_return_is_its_share_of_twice_the_threshold() -> None:
    parameters: dict[str, Any] = {"features": {"reach": "range"}, "lessons": 0, "buy_above": 0.01, "sell_below": -0.04}
    strategy = Model(estimator=Told(0.015, -0.05, 0.9), **parameters)
    assert [signal.strength for _, signal in said(strategy, bars([1, 2, 3]))] == [0.75, 0.625, 1.0]


def test_values_are_not_there_before_the_first_row() -> None:
    strategy = Model(estimator=Odds(0.6), features={"ret": {"returns": 1}}, lessons=0)
    assert said(strategy, [bar(10)]) == []
    assert strategy.values == {"ret": None, "prediction": None}
    [(_, signal)] = said(strategy, [bar(11)])
    assert signal.values == strategy.values == {"ret": 11 / 10 - 1, "prediction": 0.6}


def test_it_is_silent_until_it_has_had_its_lessons(river: Any) -> None:
    for lessons, horizon in ((1, 1), (5, 1), (7, 4), (0, 4)):
        parameters: dict[str, Any] = {"features": FEW, "lessons": lessons, "horizon": horizon}
        strategy = Model(estimator=Odds(*[0.9] * 60), **parameters)
        numbers = [number for number, _ in said(strategy, walk(1, 60))]
        assert numbers == [strategy.warm_up + 1]


def test_prediction_that_is_no_number_stops_it() -> None:
    with pytest.raises(ValueError, match="the model predicts nan"):
        saying(float("nan"))


# What it learns, and when


def test_it_learns_each_row_once_its_outcome_is_known_and_not_before() -> None:
    spy = Told()
    market = bars([10.0, 11.0, 12.0, 9.0, 9.0, 18.0])
    strategy = Model(
        features={"ret": {"returns": 1}}, estimator=spy, horizon=2, buy_above=1.0, sell_below=-1.0, lessons=0
    )
    rows = [{"ret": one / before - 1} for before, one in pairwise((10.0, 11.0, 12.0, 9.0, 9.0, 18.0))]
    seen = []
    for one in market:
        spy.calls.clear()
        strategy.on_bar(one)
        seen.append(list(spy.calls))
    assert seen == [
        [],
        [["predict", rows[0]]],
        [["predict", rows[1]]],
        [["learn", rows[0], 9.0 / 11.0 - 1], ["predict", rows[2]]],
        [["learn", rows[1], 9.0 / 12.0 - 1], ["predict", rows[3]]],
        [["learn", rows[2], 18.0 / 9.0 - 1], ["predict", rows[4]]],
    ]


def test_what_tells_a_probability_learns_whether_the_price_rose() -> None:
    spy = Odds(0.5, 0.5, 0.5, 0.5)
    said(Model(features={"reach": "range"}, estimator=spy), bars([1, 2, 2, 1]))
    assert [call[2] for call in spy.calls if call[0] == "learn"] == [True, False, False]


def test_it_does_not_learn_where_it_is_not_to() -> None:
    spy = Odds(0.5, 0.9)
    sides = [signal.side for _, signal in said(Model(features=FEW, estimator=spy, learn=False), walk(1, 6))]
    assert {call[0] for call in spy.calls} == {"predict"}
    assert sides == ["buy", "sell"]


def test_scaler_learns_with_its_estimator_and_never_while_it_predicts(river: Any) -> None:
    one = learning.named(f"{MARK}linear_model.LogisticRegression", {}, f"{MARK}preprocessing.StandardScaler", ["a"])
    one.learn({"a": 1.0}, 0.1)
    before = one.__getstate__()
    one.predict({"a": 100.0})
    assert one.__getstate__() == before
    assert before["scaler"]["counts"] == [["a", 1]]


def test_a_model_finds_a_market_that_always_turns_around(river: Any) -> None:
    market = bars([100 + (1 if number % 2 else -1) * (1 + number % 3) for number in range(400)])
    signals = said(Model(features={"ret_1": {"returns": 1}}, buy_above=0.6, sell_below=0.4), market)
    closes = [one.close for one in market]
    opinions = [(number, signal.side) for number, signal in signals if signal.side != "exit" and number < 400]
    right = [(side == "buy") == (closes[number] > closes[number - 1]) for number, side in opinions]
    assert len(right) > 100
    assert sum(right) > 0.95 * len(right)


# The future


@pytest.mark.parametrize("horizon", [1, 4])
def test_no_feature_no_prediction_and_no_signal_changes_when_the_future_is_cut_off(river: Any, horizon: int) -> None:
    market = walk(3, 60)
    whole = predictions(Model(**QUICK, horizon=horizon), market)
    assert len(set(whole)) > 50
    for length in range(1, len(market) + 1, 2):
        assert predictions(Model(**QUICK, horizon=horizon), market[:length]) == whole[:length]


def test_other_bars_to_come_change_nothing_that_was_said(river: Any) -> None:
    market, other = walk(3, 60), walk(4, 60)
    cut = 45
    assert predictions(Model(**QUICK), market[:cut] + other[cut:])[:cut] == predictions(Model(**QUICK), market)[:cut]


# A restart


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"horizon": 3},
        {"estimator_params": {"l1": 0.001}},
        {"estimator_params": {"optimizer": {"river:optim.Adam": {"lr": 0.05}}, "l2": 0.01}},
        {"features": {"macd": "macd", "bands": {"bollinger": {"period": 5}}, "reach": "range", "volume_z": "volume_z"}},
        {
            "estimator": f"{MARK}linear_model.LinearRegression",
            "estimator_params": {
                "intercept_lr": {"river:optim.schedulers.InverseScaling": {"learning_rate": 0.1}},
                "optimizer": "river:optim.AdaGrad",
            },
            "buy_above": 0.001,
            "sell_below": -0.001,
        },
    ],
)
def test_restart_at_any_bar_does_not_show(river: Any, parameters: dict[str, Any]) -> None:
    def make() -> Model:
        return Model(**{**QUICK, **parameters})

    market = walk(5, 70)
    whole = predictions(make(), market)
    assert len(set(whole)) > 25
    for cut in (0, 1, 3, 4, 5, 9, 36, 37, 60):
        strategy = make()
        predictions(strategy, market[:cut])
        assert predictions(restarted(strategy, make), market[cut:]) == whole[cut:]


@pytest.mark.parametrize("scaler", [None, *SCALERS])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_is_said_to_be_saved_exactly_is(river: Any, estimator: str, scaler: str | None) -> None:
    goes_on_alike(estimator, {}, scaler)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [("LogisticRegression", {"loss": "river:optim.losses.Log"}), ("LinearRegression", {"l2": 0.1})],
)
def test_optimisers_are_saved_exactly(river: Any, estimator: str, parameters: dict[str, Any], optimiser: str) -> None:
    goes_on_alike(f"linear_model.{estimator}", {**parameters, "optimizer": MARK + optimiser}, SCALERS[-1])


def goes_on_alike(estimator: str, parameters: dict[str, Any], scaler: str | None) -> None:
    names = ["one", "two", "three"]
    chance = random.Random(11)
    rows = [{name: chance.gauss(0, 1) * 10 ** chance.randint(-3, 0) for name in names} for _ in range(120)]
    outcomes = [chance.gauss(0, 0.01) for _ in rows]

    def make() -> learning.Online:
        return learning.named(MARK + estimator, parameters, scaler and MARK + scaler, names)

    one, other = make(), make()
    for row, outcome in zip(rows[:60], outcomes[:60], strict=True):
        one.learn(row, outcome)
    other.__setstate__(msgspec.msgpack.decode(msgspec.msgpack.encode(one.__getstate__())))
    for row, outcome in zip(rows[60:], outcomes[60:], strict=True):
        assert repr(one.predict(row)) == repr(other.predict(row))
        one.learn(row, outcome)
        other.learn(row, outcome)
    assert msgspec.msgpack.encode(one.__getstate__()) == msgspec.msgpack.encode(other.__getstate__())


def test_pipeline_that_was_handed_over_survives_a_restart(river: Any) -> None:
    from river import linear_model, preprocessing

    def make() -> Model:
        pipeline = preprocessing.StandardScaler() | linear_model.LogisticRegression()
        return Model(**QUICK, estimator=pipeline)

    market = walk(5, 60)
    whole = predictions(make(), market)
    strategy = make()
    predictions(strategy, market[:40])
    assert predictions(restarted(strategy, make), market[40:]) == whole[40:]
    assert whole == predictions(Model(**QUICK), market)


def test_estimator_of_ones_own_survives_a_restart() -> None:
    class Means:
        def __init__(self) -> None:
            self.means: dict[str, float] = defaultdict(float)

        def predict_one(self, row: dict[str, float]) -> float:
            return self.means["up" if row["ret"] > 0 else "down"]

        def learn_one(self, row: dict[str, float], outcome: float) -> None:
            where = "up" if row["ret"] > 0 else "down"
            self.means[where] += 0.1 * (outcome - self.means[where])

    def make() -> Model:
        parameters: dict[str, Any] = {"lessons": 3, "buy_above": 0.0, "sell_below": 0.0}
        return Model(features={"ret": {"returns": 1}}, estimator=Means(), **parameters)

    market = walk(6, 50)
    whole = predictions(make(), market)
    for cut in (0, 1, 2, 3, 25):
        strategy = make()
        predictions(strategy, market[:cut])
        assert predictions(restarted(strategy, make), market[cut:]) == whole[cut:]


def test_memory_of_another_strategy_is_refused(river: Any) -> None:
    with pytest.raises(ValueError, match="not that of a model: side"):
        memory.recall(Model(**QUICK), {"side": 1})
    with pytest.raises(ValueError, match="not that of estimator"):
        memory.recall(Model(**QUICK), memory.remembered(Model(**QUICK)) | {"learner": {"lessons": 1, "estimator": {}}})


# What is refused


class NoPrediction:
    def learn_one(self, row: dict[str, float], outcome: float) -> None: ...


class Chancy(Told):
    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(1)


class Mixed(Told):
    def __init__(self) -> None:
        super().__init__()
        self.inner = {"seen": [{1, 2}]}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"horizon": 0}, "horizon is 0"),
        ({"horizon": True}, "horizon is True"),
        ({"lessons": -1}, "lessons is -1"),
        ({"buy_above": 0.4, "sell_below": 0.6}, "sell_below is 0.6 and buy_above 0.4"),
        ({"buy_above": 1.5}, "probabilities are from 0 to 1"),
        ({"buy_above": float("nan")}, "must not be above"),
        ({"learn": False}, "starts with nothing learned"),
        ({"estimator": f"{MARK}linear_model.LinearRegression"}, "buy_above and sell_below have to be told"),
        ({"features": {}}, "0 features"),
        ({"features": {"rsi": "rsy"}}, 'the feature rsi: unknown indicator "rsy"; did you mean "rsi"'),
        ({"features": {"rsi": {"rsi": {"perod": 3}}}}, 'no parameter "perod"; did you mean "period"'),
        ({"features": {"rsi": {"rsi": 14}}}, "go by their names"),
        ({"features": {"ret": {"returns": {"lagg": 1}}}}, 'did you mean "lag"'),
        ({"features": {"ret": {"returns": 1.5}}}, "lag is 1.5"),
        ({"features": {"ret": {"returns": {"lag": 1, "log": 1}}}}, "log is 1"),
        ({"features": {"ret": 5}}, "the feature ret is told as"),
        ({"features": {"ret": {"returns": 1, "rsi": 3}}}, "the feature ret is told as"),
        ({"features": {"Ret": "range"}}, "'Ret' is no name"),
        ({"features": {"prediction": "range"}}, "needs another name"),
        ({"features": {"macd": "macd", "macd_signal": "range"}}, "two features are called macd_signal"),
        ({"estimator": "linear_model.LogisticRegression"}, "is no estimator"),
        ({"estimator": "os:system"}, "is no estimator"),
        ({"estimator": f"{MARK}linear_model.LogisticRegresion"}, "is no Classifier or Regressor"),
        ({"estimator": f"{MARK}linear_modle.LogisticRegression"}, "river has no linear_modle"),
        ({"estimator": f"{MARK}datasets.Phishing"}, "is no Classifier or Regressor"),
        ({"estimator": f"{MARK}preprocessing.StandardScaler"}, "is no Classifier or Regressor"),
        ({"estimator": f"{MARK}linear_model.base.GLM"}, "is no Classifier or Regressor"),
        ({"estimator": f"{MARK}linear_model.__class__"}, "is no estimator"),
        ({"estimator_params": {"l3": 1}}, 'no parameter "l3"'),
        ({"estimator_params": {"l1": 1.0, "l2": 1.0}}, "cannot be made: The joint use"),
        ({"estimator_params": {"optimizer": "river:optim.Adamm"}}, "is no Optimizer"),
        ({"estimator_params": {"optimizer": "river:optim.Newton"}}, "estimator.optimizer._H_inv is a ndarray"),
        ({"estimator_params": {"initializer": "river:optim.initializers.Normal"}}, "say its seed"),
        ({"estimator_params": {"initializer": {"river:optim.initializers.Normal": {"seed": 1}}}}, "initializer._rng"),
        ({"estimator": f"{MARK}linear_model.PARegressor"}, "estimator.weights"),
        ({"estimator": f"{MARK}linear_model.BayesianLinearRegression"}, "estimator._ss_arr is a ndarray"),
        ({"estimator": f"{MARK}tree.HoeffdingTreeRegressor"}, "estimator._root._disabled_attrs is a set"),
        ({"estimator": f"{MARK}naive_bayes.BernoulliNB"}, "nobody has shown"),
        ({"estimator_params": {"l1": 0.1, "optimizer": "river:optim.FTRLProximal"}}, "cannot learn: AttributeError"),
        ({"estimator": f"{MARK}forest.ARFClassifier"}, "say its seed"),
        (
            {"estimator": f"{MARK}forest.ARFClassifier", "estimator_params": {"seed": 1, "n_models": 10**9}},
            "nobody has shown",
        ),
        ({"scaler": {f"{MARK}feature_extraction.PolynomialExtender": {"degree": 10**6}}}, "nobody has shown"),
        ({"features": {"ret": {"returns": 10**9}}}, "lag is 1000000000: a whole number from 1 to 100000"),
        ({"scaler": f"{MARK}preprocessing.StandardScalar"}, "is no Transformer"),
        ({"scaler": {f"{MARK}preprocessing.StandardScaler": {"window_size": 5}}}, r"window\[0\] is a tuple"),
        ({"scaler": f"{MARK}preprocessing.Binarizer"}, "nobody has shown"),
        ({"scaler": {}}, "is not one name"),
        ({"estimator": NoPrediction()}, "has no predict_one"),
        ({"estimator": Chancy()}, "estimator.chance saves a tuple"),
        ({"estimator": Mixed()}, r"estimator.inner\['seen'\]\[0\] is a set"),
        ({"estimator": Odds(), "estimator_params": {"l2": 1}}, "for river's estimators only"),
    ],
)
def test_what_cannot_be_is_refused_at_once(river: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, UsageError)) as refused:
        Model(**parameters)
    hint = getattr(refused.value, "hint", "")
    assert re.search(message, f"{refused.value}; {hint}")


def test_refusal_of_what_cannot_be_saved_tells_what_can(river: Any) -> None:
    with pytest.raises(UsageError) as refused:
        Model(estimator=f"{MARK}neighbors.KNNClassifier")
    assert "linear_model.LogisticRegression" in refused.value.hint


def test_estimator_that_learns_where_nobody_sees_is_found_out(river: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from river import base, linear_model

    class Hidden(base.Regressor):
        def __init__(self) -> None:
            hidden: list[float] = []
            self.keep, self.told = hidden.append, lambda: sum(hidden)

        def learn_one(self, x: Any, y: Any) -> None:
            self.keep(y)

        def predict_one(self, x: Any) -> float:
            return self.told()

    monkeypatch.setattr(linear_model, "PAClassifier", Hidden)
    with pytest.raises(UsageError, match="does not come back exactly"):
        Model(estimator=f"{MARK}linear_model.PAClassifier")


def test_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(UsageError, match="river is not installed"):
        Model()


def test_configuration_makes_a_model_and_cannot_tell_it_where_files_may_lie(river: Any) -> None:
    made = loading.make(Model, {"horizon": "3", "features": {"ret": {"returns": 1}}})
    assert made.warm_up == 2 - 1 + 3 + 99
    assert loading.fingerprint(Model, {}) == loading.fingerprint(Model, {"horizon": "1"})
    with pytest.raises(UsageError, match="plugin_paths"):
        loading.make(Model, {"plugin_paths": ["/"]})


# Fitted models


def written(folder: Path, onnx: Any, *nodes: Any, name: str = "model.onnx", **parts: Any) -> str:
    """A model file of these nodes; by itself with one input of the columns of FEW and one output of one column."""
    helper, kinds = onnx.helper, onnx.TensorProto
    inputs = parts.get("inputs", {"features": [None, 3]})
    outputs = parts.get("outputs", {"told": [None, 1]})
    kind = parts.get("kind", kinds.FLOAT)
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(each, kind, shape) for each, shape in inputs.items()],
        [helper.make_tensor_value_info(each, parts.get("out", kind), shape) for each, shape in outputs.items()],
        parts.get("weights", []),
    )
    domains = [("", 17), ("ai.onnx.ml", 3), *((domain, 1) for domain in parts.get("domains", ()))]
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid(*each) for each in domains], ir_version=8)
    if "metadata" in parts:
        helper.set_model_props(made, parts["metadata"])
    (folder / name).write_bytes(made.SerializeToString())
    return name


def linear(onnx: Any, weights: Sequence[float] = (1.0, 10.0, 0.0)) -> dict[str, Any]:
    """A return: the weighted sum of the features."""
    tensor = onnx.helper.make_tensor("weights", onnx.TensorProto.FLOAT, [len(weights), 1], weights)
    return {"weights": [tensor]}


def node(onnx: Any, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    return onnx.helper.make_node(operator, inputs, outputs, **attributes)


def product(onnx: Any) -> Any:
    return node(onnx, "MatMul", ["features", "weights"], ["told"])


RETURNS: dict[str, Any] = {"features": FEW, "buy_above": 0.1, "sell_below": -0.1}


def test_fitted_model_predicts_a_return_from_the_features_in_their_order(tmp_path: Path, onnx: Any) -> None:
    file = written(tmp_path, onnx, product(onnx), **linear(onnx), metadata={"features": "ret_1, ret_3, rsi"})
    strategy = Model(**RETURNS, estimator=file, plugin_paths=[tmp_path])
    assert strategy.warm_up == 3
    for one in walk(2, 40):
        strategy.on_bar(one)
        row = dict(strategy.values)
        told = row.pop("prediction")
        assert (told is None) == (row["rsi"] is None)
        if told is not None:
            assert told == pytest.approx(row["ret_1"] + 10 * row["ret_3"], abs=1e-6)  # type: ignore[operator]


def test_fitted_classifier_tells_the_probability_of_its_second_column(tmp_path: Path, onnx: Any) -> None:
    """The graph of a scikit-learn LogisticRegression, as skl2onnx writes it without a ZipMap."""
    classifier = node(
        onnx,
        *("LinearClassifier", ["features"], ["label", "scores"]),
        domain="ai.onnx.ml",
        classlabels_ints=[0, 1],
        coefficients=[-100.0, 0, 0, 100.0, 0, 0],
        intercepts=[0.0, 0.0],
        multi_class=0,
        post_transform="LOGISTIC",
    )
    file = written(tmp_path, onnx, classifier, outputs={"scores": [None, 2]})
    strategy = Model(features=FEW, estimator=file, plugin_paths=[tmp_path])
    signals = [signal for _, signal in said(strategy, walk(2, 60))]
    assert {signal.side for signal in signals} == {"buy", "sell", "exit"}
    for signal in signals:
        assert (signal.values["prediction"] > 0.5) == (signal.values["ret_1"] > 0) or signal.side == "exit"


def test_fitted_model_may_have_an_input_for_each_feature(tmp_path: Path, onnx: Any) -> None:
    inputs = {"rsi": [None, 1], "ret_3": [None, 1], "ret_1": [None, 1]}
    nodes = [node(onnx, "Sub", ["rsi", "ret_1"], ["part"]), node(onnx, "Sub", ["part", "ret_3"], ["told"])]
    file = written(tmp_path, onnx, *nodes, inputs=inputs, kind=onnx.TensorProto.DOUBLE)
    strategy = Model(**RETURNS, estimator=file, plugin_paths=[tmp_path])
    said(strategy, walk(2, 10))
    row: Any = strategy.values
    assert row["prediction"] == row["rsi"] - row["ret_1"] - row["ret_3"]


def test_fitted_model_says_the_same_again_after_a_restart_and_without_a_future(tmp_path: Path, onnx: Any) -> None:
    file = written(tmp_path, onnx, product(onnx), **linear(onnx))

    def make() -> Model:
        return Model(**RETURNS, estimator=file, plugin_paths=[tmp_path])

    market = walk(8, 40)
    whole = predictions(make(), market)
    assert any("sell" in each for each in whole)
    for cut in range(0, 40, 3):
        strategy = make()
        assert predictions(strategy, market[:cut]) == whole[:cut]
        assert predictions(restarted(strategy, make), market[cut:]) == whole[cut:]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"inputs": {"features": [None, 4]}}, "takes 4 numbers .features., and there are 3 features"),
        ({"inputs": {"features": [None, None]}}, "takes None numbers"),
        ({"inputs": {"features": [None, "many"]}}, "takes many numbers"),
        ({"inputs": {"features": [7, 3]}}, "shape .7, 3."),
        ({"inputs": {"features": [3]}}, "shape .3."),
        ({"inputs": {"features": [None, 3], "more": [None, 1]}}, r"takes features\[3\], more\[1\]"),
        ({"metadata": {"features": "ret_3,ret_1,rsi"}}, "was fitted to ret_3,ret_1,rsi"),
        ({"outputs": {"told": [None, 3]}}, "no output to go by"),
    ],
)
def test_fitted_model_that_does_not_fit_the_features_is_refused(
    tmp_path: Path, onnx: Any, parts: dict[str, Any], message: str
) -> None:
    width = parts.get("inputs", {}).get("features", [0, 3])[-1]
    columns = parts.get("outputs", {}).get("told", [0, 1])[-1]
    rows = width if isinstance(width, int) else 3
    weights = onnx.helper.make_tensor("weights", onnx.TensorProto.FLOAT, [rows, columns], [0.5] * rows * columns)
    file = written(tmp_path, onnx, product(onnx), weights=[weights], **parts)
    with pytest.raises(UsageError, match=message):
        Model(**RETURNS, estimator=file, plugin_paths=[tmp_path])


def test_fitted_model_of_whole_numbers_or_with_a_map_is_refused(tmp_path: Path, onnx: Any) -> None:
    whole = onnx.TensorProto.INT64
    file = written(tmp_path, onnx, node(onnx, "Neg", ["features"], ["told"]), kind=whole, outputs={"told": [None, 3]})
    with pytest.raises(UsageError, match=r"is a tensor\(int64\)"):
        Model(**RETURNS, estimator=file, plugin_paths=[tmp_path])


@pytest.mark.parametrize("operator", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_fitted_model_that_draws_lots_is_refused_wherever_it_does(tmp_path: Path, onnx: Any, operator: str) -> None:
    drawn = node(onnx, operator, ["told_before"], ["told"])
    plain = node(onnx, "MatMul", ["features", "weights"], ["told_before"])
    file = written(tmp_path, onnx, plain, drawn, **linear(onnx))
    with pytest.raises(UsageError, match=f"draws lots .{operator}"):
        Model(**RETURNS, estimator=file, plugin_paths=[tmp_path])


def test_lots_in_a_branch_are_seen(tmp_path: Path, onnx: Any) -> None:
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    out = [helper.make_tensor_value_info("inner", floats, [1, 1])]
    lots = helper.make_graph([node(onnx, "RandomUniform", [], ["inner"], shape=[1, 1])], "lots", [], out)
    calm = helper.make_graph(
        [node(onnx, "Constant", [], ["inner"], value=helper.make_tensor("one", floats, [1, 1], [1.0]))], "calm", [], out
    )
    yes = helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])
    file = written(
        tmp_path, onnx, node(onnx, "If", ["yes"], ["told"], then_branch=calm, else_branch=lots), weights=[yes]
    )
    with pytest.raises(UsageError, match="RandomUniform"):
        Model(**RETURNS, estimator=file, plugin_paths=[tmp_path])


def test_fitted_model_with_operators_of_somebody_is_refused(tmp_path: Path, onnx: Any) -> None:
    foreign = node(onnx, "Gelu", ["features"], ["told"], domain="com.microsoft")
    file = written(tmp_path, onnx, foreign, domains=["com.microsoft"])
    with pytest.raises(UsageError, match=r"not of ONNX: com\.microsoft:Gelu"):
        Model(**RETURNS, estimator=file, plugin_paths=[tmp_path])


@pytest.mark.parametrize("where", ["weights.bin", "../weights.bin", "/etc/hostname", "*/_ORT_MEM_ADDR_/*"])
def test_weights_in_other_files_are_not_read(
    tmp_path: Path, onnx: Any, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(12))
    tensor = onnx.TensorProto(name="weights", data_type=onnx.TensorProto.FLOAT, dims=[3, 1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=where)
    file = written(tmp_path, onnx, product(onnx), weights=[tensor])
    with pytest.raises(UsageError, match="its weights lie in another file"):
        Model(**RETURNS, estimator=file, plugin_paths=[tmp_path])


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x04\x95", bytes(200), b"\x3a\xff\xff\xff\xff\x0f"])
def test_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(UsageError, match=r"model.onnx is no ONNX model that can be used"):
        Model(**RETURNS, estimator="model.onnx", plugin_paths=[tmp_path])


def test_no_damage_to_a_file_does_more_than_to_refuse_it(tmp_path: Path, onnx: Any) -> None:
    whole = bytearray((tmp_path / written(tmp_path, onnx, product(onnx), **linear(onnx))).read_bytes())
    chance = random.Random(5)
    for _ in range(150):
        damaged = whole[: chance.randrange(len(whole))] if chance.random() < 0.3 else bytearray(whole)
        for _ in range(min(3, len(damaged))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (tmp_path / "model.onnx").write_bytes(damaged)
        try:
            Model(**RETURNS, estimator="model.onnx", plugin_paths=[tmp_path])
        except UsageError as error:
            assert "model.onnx" in str(error)


def test_model_files_come_from_below_the_folders_that_are_allowed(tmp_path: Path, onnx: Any) -> None:
    allowed, other = tmp_path / "models", tmp_path / "other"
    (allowed / "inner").mkdir(parents=True)
    other.mkdir()
    written(other, onnx, product(onnx), **linear(onnx))
    written(allowed / "inner", onnx, product(onnx), **linear(onnx))
    (allowed / "link.onnx").symlink_to(other / "model.onnx")
    (allowed / "folder.onnx").mkdir()
    os.mkfifo(allowed / "pipe.onnx")
    with (allowed / "large.onnx").open("wb") as large:
        large.truncate((64 << 20) + 1)

    def refused(estimator: str, error: type[CryptostreamError], message: str) -> None:
        with pytest.raises(error, match=message):
            Model(**RETURNS, estimator=estimator, plugin_paths=[allowed])

    Model(**RETURNS, estimator="inner/model.onnx", plugin_paths=[allowed])
    Model(**RETURNS, estimator=str(allowed / "inner" / "model.onnx"), plugin_paths=[allowed])
    Model(**RETURNS, estimator="model.onnx", plugin_paths=[allowed, other])
    refused("model.onnx", NotFound, "no model file")
    refused("../other/model.onnx", ConfigError, "outside of the folders")
    refused(str(other / "model.onnx"), ConfigError, "outside of the folders")
    refused("link.onnx", ConfigError, "outside of the folders")
    refused("folder.onnx", ConfigError, "no regular file")
    refused("pipe.onnx", ConfigError, "no regular file")
    refused("large.onnx", ConfigError, "64 MiB")
    with pytest.raises(NotFound):
        Model(**RETURNS, estimator=str(allowed / "inner" / "model.onnx"))


def test_what_makes_no_sense_with_a_fitted_model_is_refused(tmp_path: Path, onnx: Any) -> None:
    file = written(tmp_path, onnx, product(onnx), **linear(onnx))
    for parameters, message in (
        ({"learn": True}, "was fitted once and for all"),
        ({"estimator_params": {"l2": 1}}, "for river's estimators only"),
        ({"scaler": f"{MARK}preprocessing.Normalizer"}, "for river's estimators only"),
        ({"buy_above": None}, "have to be told"),
    ):
        with pytest.raises((ValueError, UsageError), match=message):
            Model(**{**RETURNS, **parameters}, estimator=file, plugin_paths=[tmp_path])


def test_number_too_large_for_the_model_stops_it_and_is_no_prediction(tmp_path: Path, onnx: Any) -> None:
    file = written(tmp_path, onnx, product(onnx), **linear(onnx))
    strategy = Model(**RETURNS, estimator=file, plugin_paths=[tmp_path])
    with pytest.raises(ValueError, match="too large for the model's numbers"):
        said(strategy, bars([1e-100, 1e-100, 1e-100, 1e-100, 1e100]))


# What the page shows


def blocks(language: str) -> list[str]:
    text = re.sub(r"<!-- shown, not run.*?```.*?```", "", DOCS.read_text(), flags=re.DOTALL)
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_every_yaml_of_the_page_makes_what_it_shows(tmp_path: Path, river: Any, onnx: Any) -> None:
    file = written(tmp_path, onnx, product(onnx), **linear(onnx), outputs={"told": [None, 1]})
    shown = [yaml.safe_load(block) for block in blocks("yaml")]
    assert len(shown) == 3
    for each in shown:
        if "features" in each:
            assert features(each["features"]).names[3:6] == ["macd", "macd_signal", "macd_histogram"]
            continue
        (consumer,) = each["consumers"].values()
        (told,) = consumer["strategies"]
        fitted = {"buy_above": 0.1, "sell_below": -0.1, "estimator": file} if "plugins" in each else {}
        Model(**{**told["model"], **fitted}, plugin_paths=[tmp_path])


def test_every_python_of_the_page_runs(river: Any) -> None:
    shown = blocks("python")
    assert len(shown) == 2
    for block in shown:
        exec(compile(block, str(DOCS), "exec"), {})


def test_page_names_whatever_can_be_saved() -> None:
    text = DOCS.read_text()
    assert [name for name in (*ESTIMATORS, *SCALERS, *OPTIMISERS) if f"`{name.partition('.')[2]}`" not in text] == []
