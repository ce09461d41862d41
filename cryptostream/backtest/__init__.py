"""Signals to fills, fills to equity, equity to figures."""
