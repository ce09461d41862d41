"""Estimators that learn one bar at a time: river's, by their names, or anything with `predict_one` and `learn_one`.

river's are made here and nowhere else: an estimator out of a few packages, a scaler before it, an optimiser inside it.
Only those are taken whose memory was seen to come back exactly: each is tried when it is made.
https://riverml.xyz
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from math import sin
from typing import Any, Protocol

import msgspec

from cryptostream.errors import UsageError
from cryptostream.registry import did_you_mean
from cryptostream.strategies.model.saving import learned, put_back

MARK = "river:"
Row = dict[str, float]

ESTIMATORS = (
    "linear_model.ALMAClassifier",
    "linear_model.LinearRegression",
    "linear_model.LogisticRegression",
    "linear_model.PAClassifier",
    "linear_model.Perceptron",
    "linear_model.SoftmaxRegression",
)
SCALERS = (
    "preprocessing.AdaptiveStandardScaler",
    "preprocessing.MaxAbsScaler",
    "preprocessing.MinMaxScaler",
    "preprocessing.Normalizer",
    "preprocessing.RobustScaler",
    "preprocessing.StandardScaler",
)
OPTIMISERS = (
    "optim.AMSGrad",
    "optim.AdaBound",
    "optim.AdaDelta",
    "optim.AdaGrad",
    "optim.AdaMax",
    "optim.Adam",
    "optim.FTRLProximal",
    "optim.Momentum",
    "optim.Nadam",
    "optim.NesterovMomentum",
    "optim.RMSProp",
    "optim.SGD",
)
"""Whose memory comes back to the last bit; what else stands below `river:optim` is tried when it is made."""


class Learner(Protocol):
    """What a model strategy asks: a probability that the price rises, or the return that it predicts."""

    probability: bool
    learns: bool

    def predict(self, row: Row) -> float | None:
        """What it makes of a row, None for "not yet"."""

    def learn(self, row: Row, change: float) -> None:
        """The return that followed a row."""

    def __getstate__(self) -> Any: ...

    def __setstate__(self, state: Any) -> None: ...


class Online:
    """An estimator that learns, with a scaler before it or None.

    The scaler learns with the estimator, from the same rows, and never while a prediction is made.
    """

    learns = True

    def __init__(self, estimator: Any, scaler: Any, names: Sequence[str]) -> None:
        self.probability = _says_probability(estimator)
        self._estimator = estimator
        self._scaler = scaler
        self._names = names
        self._lessons = 0

    def predict(self, row: Row) -> float | None:
        scaled = self._scaler.transform_one(row) if self._scaler is not None else row
        if not self.probability:
            told = self._estimator.predict_one(scaled)
            return None if told is None else float(told)
        probabilities = self._estimator.predict_proba_one(scaled)
        return float(probabilities.get(True, 0.0)) if probabilities else None

    def learn(self, row: Row, change: float) -> None:
        if self._scaler is not None:
            self._scaler.learn_one(row)
            row = self._scaler.transform_one(row)
        self._estimator.learn_one(row, change > 0 if self.probability else change)
        self._lessons += 1

    def __getstate__(self) -> dict[str, Any]:
        told = {"estimator": self._estimator, "scaler": self._scaler}
        return {"lessons": self._lessons} | {name: learned(each, name) for name, each in told.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["lessons"]:
            self._rehearse()
        self._estimator = put_back(self._estimator, state["estimator"], "estimator")
        self._scaler = put_back(self._scaler, state["scaler"], "scaler")
        self._lessons = state["lessons"]

    def _rehearse(self) -> None:
        """Learn a rise and a fall, so that all is there that is made while learning: the memory then replaces it."""
        for count, change in enumerate((0.01, -0.01)):
            self.learn(made_up(self._names, count), change)


def handed(estimator: Any, names: Sequence[str]) -> Online:
    """An estimator that was made by the caller. Raises UsageError for one that cannot learn, predict or be saved."""
    for verb in ("predict_one", "learn_one"):
        if not callable(getattr(estimator, verb, None)):
            raise UsageError(f"the estimator, a {type(estimator).__name__}, has no {verb}", hint=_WORKS)
    made = Online(estimator, None, names)
    try:
        made.__getstate__()
    except TypeError as error:
        raise UsageError(f"what the estimator learns cannot be saved: {error}", hint=_WORKS) from error
    return made


def named(estimator: str, params: Mapping[str, Any], scaler: Any, names: Sequence[str]) -> Online:
    """One of river's estimators, with one of its scalers before it or None, ready to learn rows of these names.

    Raises UsageError for names that are not river's, parameters that do not fit, and an estimator whose memory would
    not come back exactly.
    """
    bases = _river("base")

    def made() -> Online:
        last = _made({estimator: params}, (bases.Classifier, bases.Regressor))
        return Online(last, None if scaler is None else _made(scaler, (bases.Transformer,)), names)

    unknown = [
        name
        for name, known in ((estimator, ESTIMATORS), (_name(scaler), SCALERS))
        if name and name.removeprefix(MARK) not in known
    ]
    if not (unknown and (params or isinstance(scaler, Mapping))):  # a million trees are not tried
        _try(made, names, estimator)
    if unknown:
        raise UsageError(f"nobody has shown that the memory of {unknown[0]} comes back exactly", hint=_WORKS)
    return made()


_WORKS = f"these can: {', '.join((*ESTIMATORS, *SCALERS, *OPTIMISERS))}; a fitted model goes as model.onnx"
_PATH = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*\.[A-Z][A-Za-z0-9]*", re.ASCII)
_ROWS = 24
_FAILS = (TypeError, ValueError, ArithmeticError, AttributeError, LookupError)


def made_up(names: Sequence[str], count: int) -> Row:
    """A row of numbers that says nothing; the same each time."""
    return {name: sin(1.7 * count + place) * (1 + place % 3) for place, name in enumerate(names)}


def _try(made: Callable[[], Online], names: Sequence[str], whose: str) -> None:
    """Learn, save, put back into another one, and see that both go on alike to the last bit."""
    one, other = made(), made()
    try:
        _learn(one, names, 0)
    except _FAILS as error:
        raise UsageError(f"{whose} cannot learn: {type(error).__name__}: {error}") from error
    try:
        other.__setstate__(msgspec.msgpack.decode(_saved(one)))
        alike = _learn(one, names, _ROWS) == _learn(other, names, _ROWS) and _saved(one) == _saved(other)
    except _FAILS as error:
        raise UsageError(f"what {whose} learns cannot be saved: {error}", hint=_WORKS) from error
    if not alike:
        raise UsageError(f"what {whose} learns does not come back exactly: it went on otherwise", hint=_WORKS)


def _learn(one: Online, names: Sequence[str], start: int) -> list[str]:
    told = []
    for count in range(start, start + _ROWS):
        row = made_up(names, count)
        one.learn(row, sin(2.3 * count) / 100)
        told.append(repr(one.predict(row)))
    return told


def _saved(one: Online) -> bytes:
    return msgspec.msgpack.encode(one.__getstate__())


def _name(told: Any) -> str:
    return next(iter(told), "") if isinstance(told, Mapping) else told or ""


def _made(told: Any, kinds: tuple[type, ...]) -> Any:
    """`river:a.B`, or `{river:a.B: parameters}`, as what it names. Raises UsageError."""
    if isinstance(told, Mapping) and len(told) != 1:
        raise UsageError(f"{dict(told)!r} is not one name with its parameters")
    name, params = _name(told), dict(next(iter(told.values())) or {}) if isinstance(told, Mapping) else {}
    kind = _kind(name, kinds)
    known = inspect.signature(kind).parameters
    for key in params:
        if key not in known:
            hint = did_you_mean(str(key), known) or f"it has: {', '.join(known) or 'none'}"
            raise UsageError(f'{name} has no parameter "{key}"', hint=hint)
    if "seed" in known and params.get("seed") is None:
        raise UsageError(f"{name} draws lots: say its seed", hint="two runs over the same bars must be the same")
    try:
        return kind(**{key: _inner(value) for key, value in params.items()})
    except (TypeError, ValueError, NotImplementedError) as error:
        raise UsageError(f"{name} cannot be made: {error}") from error


def _inner(value: Any) -> Any:
    """A parameter: an optimiser, a loss or a schedule where it is told by its name, else as it is."""
    if str(_name(value) if isinstance(value, str | Mapping) else "").startswith(MARK):
        parts = _river("optim.base")
        return _made(value, (parts.Optimizer, parts.Loss, parts.Scheduler, parts.Initializer))
    return value


def _kind(name: Any, kinds: tuple[type, ...]) -> Any:
    """The class of a name below river. Raises UsageError."""
    path = name.removeprefix(MARK) if isinstance(name, str) else ""
    if not str(name).startswith(MARK) or not _PATH.fullmatch(path):
        raise UsageError(
            f"{name!r} is no estimator", hint=f"for example {MARK}linear_model.LogisticRegression, or model.onnx"
        )
    where, _, last = path.rpartition(".")
    kind = getattr(_river(where), last, None)
    if not isinstance(kind, type) or not issubclass(kind, kinds):
        wanted = " or ".join(each.__name__ for each in kinds)
        hint = did_you_mean(path, (*ESTIMATORS, *SCALERS, *OPTIMISERS)) or _WORKS
        raise UsageError(f"{name} is no {wanted} of river", hint=hint)
    return kind


def _river(module: str) -> Any:
    """A package of river. Raises UsageError where there is none, or no river."""
    try:
        import_module("river")
    except ModuleNotFoundError as error:
        raise UsageError("river is not installed", hint="it comes with the extra ml: cryptostream[ml]") from error
    try:
        return import_module(f"river.{module}")
    except ModuleNotFoundError as error:
        hint = did_you_mean(module, ("linear_model", "preprocessing", "optim"))
        raise UsageError(f"river has no {module}", hint=hint or _WORKS) from error


def _says_probability(estimator: Any) -> bool:
    steps = getattr(estimator, "steps", None)
    last = list(steps.values())[-1] if isinstance(steps, dict) and steps else estimator
    return hasattr(last, "predict_proba_one")
