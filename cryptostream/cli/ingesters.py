"""The ingesters that write to a bus, one by one: who was first how often, and how often one saved another's trade."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cryptostream.cli.sizes import size

if TYPE_CHECKING:
    from cryptostream.bus.admin import Counters


def rows(found: Sequence["Counters"]) -> list[dict[str, Any]]:
    """What each has counted since it started: `published` were first, `already_there` another had written before it.

    What an ingester of an older version does not count is zero.
    """
    return [_row(one) for one in found]


def _row(one: "Counters") -> dict[str, Any]:
    publisher, ingest = one.publisher, one.ingest
    return {
        "ingester": f"{one.host}:{one.pid}",
        "published": publisher.get("publish_count", 0),
        "already_there": publisher.get("duplicates", 0),
        "saved": publisher.get("saved", 0),
        "gaps": ingest.get("gaps_opened", 0),
        "filled": ingest.get("filled", 0),
        "missing": ingest.get("missing", 0),
        "reconnects": ingest.get("reconnects", 0),
        "spool_bytes": publisher.get("spool_bytes", 0),
        "bus_away": bool(publisher.get("troubled", 0)),
    }


def shown(one: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a person reads it, in 80 columns: who was first, and how often in percent; sizes in words."""
    return {
        "ingester": one["ingester"],
        "won": one["published"],
        "lost": one["already_there"],
        "share": _won(one["published"], one["already_there"]),
        **{name: one[name] for name in ("saved", "gaps", "filled", "missing")},
        "cuts": one["reconnects"],
        "spool": size(one["spool_bytes"]) + (", bus away" if one["bus_away"] else ""),
    }


def _won(first: int, second: int) -> str:
    """How often it was first.

    >>> _won(3, 1), _won(0, 0)
    ('75%', '')
    """
    return f"{first / (first + second):.0%}" if first + second else ""


def quality(counted: Mapping[str, Any]) -> list[str]:
    """What all of them together have lost, fetched again or still hold, in at most one line; none where nothing was.

    >>> quality({"publisher": {"spool_bytes": 5833}, "ingest": {"gaps_opened": 3, "gaps_filled": 2, "filled": 1200}})
    ['gaps 3, filled 2 (1,200 trades); spool 5.8 kB']
    >>> quality({"publisher": {"publish_count": 9}, "ingest": {"duplicates": 4}})
    []
    """
    publisher, ingest = counted["publisher"], counted["ingest"]
    parts = []
    if ingest.get("gaps_opened"):
        parts.append(
            f"gaps {ingest['gaps_opened']:,}, "
            f"filled {ingest.get('gaps_filled', 0):,} ({ingest.get('filled', 0):,} trades)"
        )
    if ingest.get("missing"):
        parts.append(f"missing {ingest['missing']:,} trades")
    if publisher.get("spool_bytes"):
        parts.append(f"spool {size(publisher['spool_bytes'])}")
    if publisher.get("troubled"):
        parts.append(f"the bus takes nothing from {publisher['troubled']:,}")
    return ["; ".join(parts)] if parts else []
