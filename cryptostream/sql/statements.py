"""The SQL that both databases speak: tables by their channel, made where they are missing, written without doubles.

Every name in it has been checked against a pattern or is written in this room, none comes from a stream.
"""

import re
from collections.abc import Mapping, Sequence

from cryptostream.errors import ConfigError
from cryptostream.sql.rows import KEY, TABLES, Kind, Table

PLACE = "{channel}"
_SCHEMA = r"(?:[a-z_][a-z0-9_]{0,62}\.)?"
_NAME = r"(?:[a-z_][a-z0-9_]{0,39})?\{channel\}[a-z0-9_]{0,12}"


def table_names(template: object, *, schemas: bool) -> dict[str, str]:
    """What every table is called, quoted, by its name in this room; `schemas` says whether one may stand before it.

    >>> table_names("spot_{channel}", schemas=False)["trades"]
    '"spot_trades"'
    >>> table_names("market.{channel}", schemas=True)["trades"]
    '"market"."trades"'

    Raises ConfigError for a template that is no name with `{channel}` in it.
    """
    pattern = (_SCHEMA if schemas else "") + _NAME
    if not isinstance(template, str) or not re.fullmatch(pattern, template):
        named = f"table: {str(template)[:80]!a}"
        raise ConfigError(
            f"{named} cannot name the tables",
            hint=f'lower-case letters, digits, _ and {PLACE}, for there is a table for each channel: "spot_{PLACE}"',
        )
    return {name: ".".join(map(quoted, template.replace(PLACE, name).split("."))) for name in TABLES}


def quoted(name: str) -> str:
    """A name that means itself, whatever words a database keeps for itself."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Sequence[str], before: str = "") -> str:
    """Columns between commas, each with what stands before it."""
    return ", ".join(before + quoted(name) for name in names)


def columns(table: Table, types: Mapping[Kind, str]) -> str:
    """The columns of a table as CREATE TABLE wants them."""
    made = []
    for name, kind in table.all_columns.items():
        needed = " NOT NULL" if name in KEY else ""
        made.append(f"{quoted(name)} {types[kind]}{needed}")
    return ",\n  ".join(made)


def create(name: str, table: Table, types: Mapping[Kind, str], options: str = "") -> str:
    """Make a table unless it is there."""
    key = f"PRIMARY KEY ({listed(KEY)})"
    return f"CREATE TABLE IF NOT EXISTS {name} (\n  {columns(table, types)},\n  {key}\n){options}"


def upsert(name: str, table: Table, rows: str, *, differs: str) -> str:
    """Insert `rows` (VALUES or a SELECT); a row that is there is written again only where it `differs`."""
    every = tuple(table.all_columns)
    values = every[len(KEY) :]
    changes = ", ".join(f"{quoted(column)} = excluded.{quoted(column)}" for column in values)
    before, after = listed(values, "kept."), listed(values, "excluded.")
    return (
        f"INSERT INTO {name} AS kept ({listed(every)}) {rows} ON CONFLICT ({listed(KEY)}) "
        f"DO UPDATE SET {changes} WHERE ({before}) {differs} ({after})"
    )
