"""What is said about a wrong value: what it should be, what it is, and the nearest word that is known."""

import json
from collections.abc import Callable, Collection, Iterable
from typing import Any

from pydantic_core import PydanticCustomError

from cryptostream.errors import ConfigError, UsageError
from cryptostream.logs import mask


def wrong(what: str) -> PydanticCustomError:
    """The error a check raises; the words are shown as they are."""
    return PydanticCustomError("told", "{what}", {"what": what})


def got(value: Any) -> str:
    """A value as an error may show it: one short line, secrets in addresses masked."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None:
        return "nothing"
    if not isinstance(value, str):
        return json.dumps(value, default=str)
    text = mask(value)
    return json.dumps(text if len(text) <= 40 else f"{text[:40]}...")


def alternatives(words: tuple[str, ...]) -> str:
    """Words to choose from: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def suggestion(word: str, known: Iterable[str]) -> str:
    """The nearest known word as a question, empty where none, or more than one, is as near.

    Near is within two slips, for words of up to three letters within one.

    >>> suggestion("maxlan", ["url", "maxlen"]), suggestion("colour", ["url", "maxlen"])
    ('did you mean "maxlen"?', '')
    """
    near = sorted((distance(word, other), other) for other in known)
    alone = len(near) == 1 or (len(near) > 1 and near[0][0] < near[1][0])
    return f'did you mean "{near[0][1]}"?' if alone and near[0][0] <= (2 if len(word) > 3 else 1) else ""


def unknown(kind: str, word: Any, known: Collection[str]) -> str:
    """What is said of a name that nobody knows."""
    meant = suggestion(word, known) if isinstance(word, str) else ""
    return f"unknown {kind} {got(word)}; {meant or 'known: ' + ', '.join(known)}"


def distance(one: str, other: str) -> int:
    """Slips between two words: letters added, left out, changed, or swapped with their neighbour.

    >>> distance("tradse", "trades"), distance("binnance", "binance"), distance("", "ab")
    (1, 1, 2)
    """
    one, other = one[:64], other[:64]
    before: list[int] = []
    above = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, against in enumerate(other, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != against)))
            if i > 1 < j and letter == other[j - 2] and one[i - 2] == against:
                row[j] = min(row[j], before[j - 2] + 1)
        before, above = above, row
    return above[-1]


def told(check: Callable[[str], Any], text: str) -> Any:
    """Run one of the model's checks and say what it says."""
    try:
        return check(text)
    except (ConfigError, UsageError) as error:
        raise wrong("; ".join(filter(None, (str(error).splitlines()[0], error.hint)))) from error
