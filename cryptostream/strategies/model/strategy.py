"""A strategy whose opinion is a model's: it learns from what followed closed bars, and says what comes next."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from cryptostream.errors import UsageError
from cryptostream.model import memory
from cryptostream.model.events import Bar, Signal
from cryptostream.strategies.model import fitted, learning
from cryptostream.strategies.model.declared import DEFAULT, features
from cryptostream.strategies.opinion import share

LOGISTIC = f"{learning.MARK}linear_model.LogisticRegression"
STANDARD = f"{learning.MARK}preprocessing.StandardScaler"

Stance = Literal["buy", "sell"]


class Model:
    """Buys where a model sees the price rise over the next `horizon` bars, sells where it sees it fall.

    At each closed bar it first learns: the row of features of `horizon` bars ago, and the return from that bar's close
    to this one's, which nobody knew before. Then it predicts from this bar's row. So a prediction depends on this bar
    and those before it, and a model has learned nothing that was not known.

    The estimator is one of river's (`river:linear_model.LogisticRegression`), a file `model.onnx`, or in Python
    anything with `predict_one` and `learn_one`. One that has `predict_proba_one` learns whether the return was above 0
    and is asked for the probability of that; all others learn and predict the return itself, a fraction.

    It says `buy` when the prediction comes to lie above `buy_above`, `sell` when it comes to lie below `sell_below`,
    and `exit` when it is back in between, unless it is to `hold` until the other side. It does not repeat itself. The
    strength is how far a probability is from even odds (0.75 is 0.5), and the share of a return in twice the threshold.

    `buy_above` and `sell_below` are 0.55 and 0.45 where nothing is told; for returns they have to be told. `learn` is
    true for all that can. `lessons` is how many rows it learns before its first signal. `plugin_paths` are the folders
    below which a model file may lie; they come from the configuration's `plugins.paths`.

    Raises UsageError for an estimator that cannot be used or saved, and NotFound or ConfigError for a file; ValueError
    for all else that makes no sense.
    """

    def __init__(
        self,
        features: Mapping[str, Any] = DEFAULT,
        estimator: Any = LOGISTIC,
        estimator_params: Mapping[str, Any] | None = None,
        scaler: Any = STANDARD,
        horizon: int = 1,
        buy_above: float | None = None,
        sell_below: float | None = None,
        hold: bool = False,
        learn: bool | None = None,
        lessons: int = 100,
        plugin_paths: Sequence[Path] = (),
    ) -> None:
        _check(horizon, lessons)
        self._features = _features(features)
        self._learner = _learner(estimator, estimator_params or {}, scaler, self._features.names, plugin_paths)
        self._learns = _learns(learn, self._learner, estimator)
        self._above, self._below = _thresholds(buy_above, sell_below, self._learner.probability)
        self._horizon = horizon
        self._hold = hold
        self._wanted = lessons if self._learns else 0
        self._waiting: deque[dict[str, Any]] = deque(maxlen=horizon)
        self._learned = 0
        self._stance: Stance | None = None
        self._row: dict[str, float] | None = None
        self._prediction: float | None = None

    @property
    def warm_up(self) -> int:
        """Bars before that of the first row, or of the last of its first `lessons`."""
        return self._features.warm_up - 1 + (self._horizon + self._wanted - 1 if self._wanted else 0)

    @property
    def values(self) -> Mapping[str, float | None]:
        """The newest row of features and the prediction, a probability or a return."""
        row = self._row if self._row is not None else dict.fromkeys(self._features.names)
        return {**row, "prediction": self._prediction}

    def on_bar(self, bar: Bar) -> Iterable[Signal]:
        """Learn what has come out, predict, and say so where the prediction has crossed a threshold."""
        self._row = row = self._features.update(bar)
        if self._learns:
            self._learn(bar, row)
        self._prediction = _finite(self._learner.predict(row)) if row is not None else None
        if self._prediction is None or self._learned < self._wanted:
            return ()
        return self._said(self._prediction)

    def _learn(self, bar: Bar, row: dict[str, float] | None) -> None:
        """Learn from the row of `horizon` bars ago, then keep this one until its outcome is known."""
        if len(self._waiting) == self._horizon:
            past = self._waiting[0]
            if past["row"] is not None:
                self._learner.learn(past["row"], bar.close / past["close"] - 1)
                self._learned += 1
        self._waiting.append({"row": row, "close": bar.close})

    def _said(self, prediction: float) -> list[Signal]:
        stance: Stance | None = "buy" if prediction > self._above else "sell" if prediction < self._below else None
        if stance == self._stance or (stance is None and self._hold):
            return []
        self._stance = stance
        return [self._signal(stance, prediction)]

    def _signal(self, stance: Stance | None, prediction: float) -> Signal:
        values = {name: value for name, value in self.values.items() if value is not None}
        if stance is None:
            return Signal("exit", 1.0, f"prediction {prediction:.4g} is back between the thresholds", values)
        line, where = (self._above, "above") if stance == "buy" else (self._below, "below")
        odds = 2 * abs(prediction - 0.5)
        strength = share(odds, 1.0) if self._learner.probability else share(abs(prediction), 2 * abs(line))
        return Signal(stance, strength, f"prediction {prediction:.4g} {where} {line:g}", values)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "features": self._features.__getstate__(),
            "learner": self._learner.__getstate__(),
            **{name: memory.remembered(getattr(self, f"_{name}"), name) for name in _MEMORY},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        if set(state) != {"features", "learner", *_MEMORY}:
            raise ValueError(f"the memory is not that of a model: {', '.join(sorted(state))}")
        self._features.__setstate__(state["features"])
        self._learner.__setstate__(state["learner"])
        self._waiting.clear()
        self._waiting.extend(state["waiting"])
        for name in _MEMORY[1:]:
            setattr(self, f"_{name}", state[name])


_MEMORY = ("waiting", "learned", "stance", "row", "prediction")
_features = features


def _check(horizon: object, lessons: object) -> None:
    for name, value, least in (("horizon", horizon, 1), ("lessons", lessons, 0)):
        if type(value) is not int or not least <= value <= 100_000:
            raise ValueError(f"{name} is {value!r}: a whole number from {least} to 100000")


def _learner(
    estimator: Any, params: Mapping[str, Any], scaler: Any, names: Sequence[str], folders: Sequence[Path]
) -> learning.Learner:
    """What learns or was fitted. Raises UsageError, and for files what `fitted.opened` does."""
    if isinstance(estimator, str) and not estimator.endswith(".onnx"):
        return learning.named(estimator, params, scaler, names)
    if params or scaler not in (STANDARD, None):
        raise UsageError("estimator_params and scaler are for river's estimators only", hint="put them into the model")
    if isinstance(estimator, str):
        return fitted.opened(estimator, names, folders)
    return learning.handed(estimator, names)


def _learns(told: bool | None, learner: learning.Learner, estimator: Any) -> bool:
    if told and not learner.learns:
        raise ValueError(f"learn is true, and {estimator} was fitted once and for all")
    if told is False and learner.learns and isinstance(estimator, str):
        raise ValueError(f"learn is false, and {estimator} starts with nothing learned")
    return learner.learns if told is None else told


def _thresholds(above: float | None, below: float | None, probability: bool) -> tuple[float, float]:
    if not probability and (above is None or below is None):
        raise ValueError("buy_above and sell_below have to be told, as returns: 0.001 is a tenth of a percent")
    high, low = 0.55 if above is None else above, 0.45 if below is None else below
    if not (isfinite(high) and isfinite(low) and low <= high):
        raise ValueError(f"sell_below is {low} and buy_above {high}: the one must not be above the other")
    if probability and not 0 <= low <= high <= 1:
        raise ValueError(f"sell_below is {low} and buy_above {high}: probabilities are from 0 to 1")
    return high, low


def _finite(prediction: float | None) -> float | None:
    if prediction is not None and not isfinite(prediction):
        raise ValueError(f"the model predicts {prediction}: it has gone astray, or its features have")
    return prediction
