"""An entry against the message it was made from: what it says, and what the venue said."""

from collections.abc import Callable, Mapping

Reading = Callable[[Mapping[str, str]], Mapping[str, str] | None]
"""From the fields of an entry that has `raw_json` to the fields that this message makes; None where none can be made.

Whoever knows the venue provides it, for a message is read by the code that reads it live.
"""


def contradicts(fields: Mapping[str, str], names: tuple[str, ...], reading: Reading | None) -> str:
    """Which field is not what the recorded message, where there is one, says; empty for none.

    Texts are compared, not numbers: digits travel as they came.
    """
    if reading is None or not fields.get("raw_json"):
        return ""
    told = reading(fields)
    if told is None:
        return "its raw_json is no message of the venue's about this stream"
    for name in names:
        if fields[name] != told.get(name):
            return f"{name} {fields[name][:40]!a} differs from its raw_json, {told.get(name, '')[:40]!a}"
    return ""
