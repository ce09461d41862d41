"""A backtest to look at: one HTML page that needs nothing else."""

from cryptostream.backtest.report.page import check, page

__all__ = ["check", "page"]
