"""Strategies: bars and trades in, signals out. One small file each."""
