"""Features of bars in, a model's opinion out: river's estimators that learn as they go, or a fitted one out of ONNX."""

from cryptostream.strategies.model.declared import features
from cryptostream.strategies.model.strategy import Model

__all__ = ["Model", "features"]
