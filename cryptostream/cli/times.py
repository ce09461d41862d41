"""Times as people type them; see `model/times.py`."""

from cryptostream.model.times import LATEST_MS, moment

__all__ = ["LATEST_MS", "moment"]
