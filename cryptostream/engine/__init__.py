"""Pulse: the loop that moves batches, and the clock it lives by."""
