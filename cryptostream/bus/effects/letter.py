"""A dead letter: what is written of an entry that could not be handled, for people to look at. Pure."""

from cryptostream.model.codec import iso
from cryptostream.model.events import Entry

LETTERS_KEPT = 10_000
"""About how many dead letters a group keeps."""


def letters_key(group: str) -> str:
    """The stream of a group's dead letters.

    >>> letters_key("momentum")
    'dlq:momentum'
    """
    return f"dlq:{group}"


def letter(entry: Entry, error: str, *, deliveries: int, now_ns: int) -> dict[str, str]:
    """The fields of the letter of an entry: what is wrong with it, then its own as `entry.<name>`.

    >>> letter(Entry("trades:A", "1-1", {"price": "5"}), "ValueError: no", deliveries=1, now_ns=0)["entry.price"]
    '5'
    """
    return {
        "stream": entry.stream,
        "entry_id": entry.entry_id,
        "error": error,
        "deliveries": str(deliveries),
        "ts": iso(now_ns // 1000),
        **{f"entry.{name}": value for name, value in entry.fields.items()},
    }
