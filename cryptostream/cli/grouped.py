"""Groups, their members and what they hold, as rows that programs read, and as a person reads them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cryptostream.cli import ages, render
from cryptostream.cli.render import Output

if TYPE_CHECKING:
    from cryptostream.bus.operate import GroupOn, Member, Pending

SUM = ("group", "streams", "members", "pending", "lag", "lost")
ROW = ("group", "stream", "members", "pending", "lag", "lost", "last_delivered")
MEMBER = ("group", "stream", "member", "pending", "idle_s")
HELD = ("stream", "entry_id", "member", "idle_s", "deliveries")


def sums(found: Sequence["GroupOn"], everyone: Sequence["Member"]) -> list[dict[str, Any]]:
    """Each group once, over all its streams."""
    return [
        {
            "group": name,
            "streams": len(on),
            "members": len({one.member for one in everyone if one.group == name}),
            "pending": sum(one.pending for one in on),
            "lag": total(one.lag for one in on),
            "lost": total(one.lost for one in on),
        }
        for name, on in by_group(found).items()
    ]


def by_group(found: Sequence["GroupOn"]) -> dict[str, list["GroupOn"]]:
    groups: dict[str, list[GroupOn]] = {}
    for one in found:
        groups.setdefault(one.group, []).append(one)
    return groups


def total(counts: Iterable[int | None]) -> int | None:
    """The sum; unknown where one is.

    >>> total([1, 2]), total([1, None])
    (3, None)
    """
    known = list(counts)
    return None if None in known else sum(count or 0 for count in known)


def row_of(one: "GroupOn") -> dict[str, Any]:
    """A group on one stream as programs read it."""
    return {
        "group": one.group,
        "stream": one.stream,
        "members": one.consumers,
        "pending": one.pending,
        "lag": one.lag,
        "lost": one.lost,
        "last_delivered": one.last_delivered,
    }


def member_row(one: "Member") -> dict[str, Any]:
    told = {"group": one.group, "stream": one.stream, "member": one.member, "pending": one.pending}
    return {**told, "idle_s": one.idle_ms / 1000}


def held_row(one: "Pending") -> dict[str, Any]:
    told = {"stream": one.stream, "entry_id": one.entry_id, "member": one.member, "idle_s": one.idle_ms / 1000}
    return {**told, "deliveries": one.deliveries}


def show(rows: Sequence[dict[str, Any]], output: Output, columns: Sequence[str] = (), *, none: str = "none") -> None:
    """Print rows as the chosen output says; on a terminal `none` where there are none."""
    if render.chosen(output) is not Output.TABLE:
        render.rows(rows, output, columns=columns)
    elif rows:
        render.rows([shown(row) for row in rows], output)
    else:
        render.note(none)


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a person reads it."""
    told = dict(row)
    for name in ("lag", "lost"):
        if told.get(name, 0) is None:
            told[name] = "unknown"
    if "last_delivered" in told:
        told["last_delivered"] = ages.place(told["last_delivered"])
    if "idle_s" in told:
        told["idle_s"] = ages.span(round(told["idle_s"] * 1000))
    return {_TITLES.get(name, name): value for name, value in told.items()}


_TITLES = {
    "last_delivered": "read up to (UTC)",
    "idle_s": "idle",
    "entry_id": "entry",
    "state_dropped": "state dropped",
}


def count(things: Iterable[Any], what: str) -> str:
    """How many, in words.

    >>> count([1], "stream"), count([1, 2], "pending entry")
    ('1 stream', '2 pending entries')
    """
    number = len(list(things))
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"
