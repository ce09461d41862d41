"""What has changed since a browser was last told, so that only that is sent."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


class Rows:
    """Rows by key.

    >>> rows = Rows()
    >>> rows.changed({"BTC": {"price": "1", "state": "live"}})
    {'put': {'BTC': {'price': '1', 'state': 'live'}}, 'gone': []}
    >>> rows.changed({"BTC": {"price": "2", "state": "live"}})
    {'put': {'BTC': {'price': '2'}}, 'gone': []}
    >>> rows.changed({})
    {'put': {}, 'gone': ['BTC']}
    """

    def __init__(self) -> None:
        self._told: dict[str, Row] = {}

    def changed(self, rows: Mapping[str, Row]) -> dict[str, Any] | None:
        """The fields that are new or have changed, and the rows that are gone; None where nothing is to be told."""
        put = {key: fields for key, row in rows.items() if (fields := self._fields(key, row))}
        gone = [key for key in self._told if key not in rows]
        self._told = dict(rows)
        return {"put": put, "gone": gone} if put or gone else None

    def _fields(self, key: str, row: Row) -> Row:
        told = self._told.get(key)
        if told is None:
            return row
        return {name: value for name, value in row.items() if name not in told or told[name] != value}


class Newest:
    """The newest of what comes one after the other, each with a key of its own.

    >>> newest = Newest()
    >>> newest.fresh(["a", "b"]), newest.fresh(["a", "b", "c"]), newest.fresh(["b", "c"])
    ([0, 1], [2], [])
    """

    def __init__(self) -> None:
        self._told: frozenset[Hashable] = frozenset()

    def fresh(self, keys: Sequence[Hashable]) -> list[int]:
        """The places of those that were not there the last time."""
        fresh = [at for at, key in enumerate(keys) if key not in self._told]
        self._told = frozenset(keys)
        return fresh
