"""Names in the configuration become objects here, and nowhere else."""

from cryptostream.wiring.alerts import alerts
from cryptostream.wiring.basics import INGESTER, KeyOf, bus, keys, rest, venue
from cryptostream.wiring.beside import (
    Alerting,
    Counting,
    Refreshing,
    check_bus,
    consumers_health,
    counted,
    health,
    refreshing,
    until_gap,
    until_lost,
)
from cryptostream.wiring.consumers import Consuming, Until, consumers, patterns, place_param
from cryptostream.wiring.following import Following, following
from cryptostream.wiring.hosting import Hosting
from cryptostream.wiring.ingest import Ingest, Running, ingest
from cryptostream.wiring.plans import Plan, plans

__all__ = [
    "INGESTER",
    "Alerting",
    "Consuming",
    "Counting",
    "Following",
    "Hosting",
    "Ingest",
    "KeyOf",
    "Plan",
    "Refreshing",
    "Running",
    "Until",
    "alerts",
    "bus",
    "check_bus",
    "consumers",
    "consumers_health",
    "counted",
    "following",
    "health",
    "ingest",
    "keys",
    "patterns",
    "place_param",
    "plans",
    "refreshing",
    "rest",
    "until_gap",
    "until_lost",
    "venue",
]
