"""Names in the configuration become objects here, and nowhere else."""

from cryptostream.wiring.basics import INGESTER, KeyOf, bus, keys, rest, venue
from cryptostream.wiring.beside import (
    Alerting,
    Counting,
    Refreshing,
    check_bus,
    health,
    refreshing,
    until_gap,
    until_lost,
)
from cryptostream.wiring.consumers import consumer
from cryptostream.wiring.ingest import Ingest, Running, ingest
from cryptostream.wiring.plans import Plan, plans

__all__ = [
    "INGESTER",
    "Alerting",
    "Counting",
    "Ingest",
    "KeyOf",
    "Plan",
    "Refreshing",
    "Running",
    "bus",
    "check_bus",
    "consumer",
    "health",
    "ingest",
    "keys",
    "plans",
    "refreshing",
    "rest",
    "until_gap",
    "until_lost",
    "venue",
]
