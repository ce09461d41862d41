"""Market data streams that are complete, in order, free of duplicates, and the same live, replayed and backtested."""

__version__ = "0.1.0"
