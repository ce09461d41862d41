"""A model that was fitted elsewhere, out of an ONNX file, run by onnxruntime.

ONNX and not pickle, joblib or skops. A pickle runs whatever its author wrote. skops lists the types in a file and
leaves it to people which to trust; what it builds then is scikit-learn's own objects, good for the version that saved
them. An ONNX file is a graph of operators with fixed meanings (https://onnx.ai/onnx/intro/concepts.html): it holds no
code, needs neither the library that fitted it nor its version, and is as good from PyTorch, LightGBM or XGBoost as from
scikit-learn.

One thread, one operator after another: the same row gives the same bits, on one machine with one onnxruntime. Operators
that draw lots, those that are not of ONNX itself, and weights in other files are refused.
"""

import stat
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from cryptostream.errors import ConfigError, NotFound, UsageError
from cryptostream.strategies.model.protobuf import operators

Floats = NDArray[np.float64]

LARGEST = 64 << 20
"""Bytes of a model file."""
FEATURES = "features"
"""Where a model's metadata may tell the names of its features, with commas between them."""

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_LOTS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_sessions: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""By the digest of the file: the strategies of many pairs share what does not change."""


class Fitted:
    """A fitted model. Its output is a probability where it has two columns, of "down" and "up", and else a return.

    What goes in is one row: one input of as many columns as there are features, in the order in which they are
    declared, or an input of one column for each feature, called as it is.
    """

    learns = False

    def __init__(self, session: Any, names: Sequence[str], where: str) -> None:
        self._session = session
        self._names = names
        self._inputs = _inputs(session, names, where)
        self._output, self.probability = _output(session, where)
        self._probe(where)

    def predict(self, row: Mapping[str, float]) -> float:
        """What the model makes of a row. Raises ValueError where it cannot."""
        given = np.array([[row[name] for name in self._names]])
        try:
            (told,) = self._session.run([self._output], self._fed(given))
        except _troubles() as error:
            raise ValueError(f"the model fails: {str(error)[:200]}") from error
        return float(told.reshape(-1)[-1])

    def _fed(self, given: Floats) -> dict[str, NDArray[Any]]:
        """A row as the inputs by name, each in its type."""
        if len(self._inputs) == 1:
            return {name: _as(kind, given) for name, kind in self._inputs.items()}
        return {name: _as(kind, given[:, [self._names.index(name)]]) for name, kind in self._inputs.items()}

    def _probe(self, where: str) -> None:
        row = dict.fromkeys(self._names, 0.5)
        try:
            alike = repr(self.predict(row)) == repr(self.predict(row))
        except ValueError as error:
            raise UsageError(f"{where} cannot be asked: {error}") from error
        if not alike:
            raise UsageError(f"{where} gives two answers to one row", hint="export it for inference, without dropout")

    def learn(self, row: Mapping[str, float], change: float) -> None:
        """It has learned all it will."""

    def __getstate__(self) -> None:
        return None

    def __setstate__(self, state: None) -> None: ...


def opened(path: str, names: Sequence[str], folders: Sequence[Path]) -> Fitted:
    """The model of a file below one of the folders, made to take rows of these names.

    A relative path is looked for in each of them. Raises NotFound, ConfigError for a file that may not be loaded, and
    UsageError for one that is no such model, does not fit the features, or could answer otherwise tomorrow.
    """
    content = _content(path, folders)
    try:
        held = operators(content)
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no ONNX model that can be used: {error}") from error
    foreign = sorted(f"{domain}:{name}" for domain, name in held if domain not in _DOMAINS)
    if foreign:
        raise UsageError(f"{path} needs operators that are not of ONNX: {', '.join(foreign)[:200]}")
    lots = sorted(name for _, name in held if name in _LOTS)
    if lots:
        raise UsageError(f"{path} draws lots ({', '.join(lots)})", hint="the same bars must give the same signals")
    try:
        return Fitted(_session(content, path), names, path)
    except ValueError as error:  # names that are no text
        raise UsageError(f"{path} is no ONNX model that can be used: {error}") from error


def _content(path: str, folders: Sequence[Path]) -> bytes:
    roots = [folder.resolve() for folder in folders]
    places = [(root / path).resolve() for root in roots]
    found = [place for place in places if place.exists()]
    if not found:
        raise NotFound(f"no model file {path}", hint="it is looked for in the folders of plugins.paths")
    for candidate in found:
        if any(candidate.is_relative_to(root) for root in roots):
            return _read(candidate, path)
    raise ConfigError(
        f"{path} lies outside of the folders that models may come from", hint="move it below plugins.paths"
    )


def _read(file: Path, path: str) -> bytes:
    facts = file.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise ConfigError(f"{path} is no regular file")
    if facts.st_size > LARGEST:
        raise ConfigError(f"{path} has {facts.st_size >> 20} MiB", hint=f"at most {LARGEST >> 20} MiB")
    return file.read_bytes()


def _session(content: bytes, path: str) -> Any:
    digest = sha256(content).hexdigest()
    session = _sessions.get(digest)
    if session is None:
        _sessions[digest] = session = _started(content, path)
    return session


def _started(content: bytes, path: str) -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    # Higher levels rewrite the graph for the processor at hand.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    # Weights in other files are refused before; should any be left, they are looked for where nothing can be.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/dev/null/nowhere")
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _troubles() as error:
        raise UsageError(f"onnxruntime cannot run {path}: {str(error)[:300]}") from error


def _inputs(session: Any, names: Sequence[str], where: str) -> dict[str, type]:
    """The inputs by name, each with its type. Raises UsageError where they do not fit the features."""
    inputs = session.get_inputs()
    for each in inputs:
        rows = each.shape[0] if len(each.shape) == 2 else 0
        if each.type not in _TYPES or (isinstance(rows, int) and rows != 1):
            told = f"{where}: its input {each.name} is a {each.type} of shape {each.shape}"
            raise UsageError(told, hint="rows of floats: tensor(float) or tensor(double) of shape [None, columns]")
    _check_order(session, names, where)
    widths = {each.name: each.shape[1] for each in inputs}
    if len(inputs) == 1 and inputs[0].shape[1] != len(names):
        told = f"{where} takes {inputs[0].shape[1]} numbers ({inputs[0].name}), and there are {len(names)} features"
        raise UsageError(told, hint=f"in this order: {', '.join(names)}")
    if len(inputs) > 1 and widths != dict.fromkeys(names, 1):
        raise UsageError(
            f"{where} takes {', '.join(f'{name}[{width}]' for name, width in widths.items())}",
            hint=f"one column for each feature: {', '.join(names)}",
        )
    return {each.name: _TYPES[each.type] for each in inputs}


def _as(kind: type, given: Floats) -> NDArray[Any]:
    """Numbers in the type of an input. Raises ValueError for those that are too large for it."""
    with np.errstate(over="ignore"):
        made: NDArray[Any] = given.astype(kind)
    if not np.isfinite(made).all():
        raise ValueError(f"{given.tolist()} is too large for the model's numbers")
    return made


def _check_order(session: Any, names: Sequence[str], where: str) -> None:
    told = session.get_modelmeta().custom_metadata_map.get(FEATURES)
    if told is not None and [name.strip() for name in told.split(",")] != list(names):
        raise UsageError(f"{where} was fitted to {told}", hint=f"the features are declared as {', '.join(names)}")


def _output(session: Any, where: str) -> tuple[str, bool]:
    """The output that is asked for, and whether it is a probability. Raises UsageError where there is none."""
    floats = [each for each in session.get_outputs() if each.type in _TYPES]
    pairs = [each for each in floats if len(each.shape) == 2 and each.shape[1] == 2]
    single = [each for each in floats if len(each.shape) == 1 or (len(each.shape) == 2 and each.shape[1] == 1)]
    for found, probability in ((pairs, True), (single, False)):
        if len(found) == 1:
            return found[0].name, probability
    told = ", ".join(f"{each.name} {each.type} {each.shape}" for each in session.get_outputs())
    hint = "one of shape [None, 2] (down, up) or [None, 1]; a classifier of skl2onnx: options={'zipmap': False}"
    raise UsageError(f"{where} has no output to go by: {told}", hint=hint)


def _runtime() -> Any:
    try:
        return import_module("onnxruntime")
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise UsageError("onnxruntime is not installed", hint="it comes with the extra ml: cryptostream[ml]") from error


def _troubles() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: classes with no base of their own."""
    kinds = vars(import_module("onnxruntime.capi.onnxruntime_pybind11_state")).values()
    return tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)) or (RuntimeError,)
