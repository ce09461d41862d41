"""A backtest to look at: one HTML page that needs nothing else."""

from cryptostream.backtest.report.page import page

__all__ = ["page"]
