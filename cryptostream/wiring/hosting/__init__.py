"""Consumers that live as long as their process does, and obey what is asked of them while they run."""

from cryptostream.wiring.hosting.hosting import Hosting

__all__ = ["Hosting"]
