"""Names by Redis' globs, so that a pattern means the same of a recording as of the bus."""

import re
from functools import lru_cache

_PARTS = re.compile(r"\\(?P<literal>.)|\[(?P<not>\^?)(?P<set>(?:\\.|[^\]\\])*)\]|(?P<any>\*+)|(?P<one>\?)", re.DOTALL)
_SET = re.compile(r"\\?(.)(?:-\\?(.))?", re.DOTALL)


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    r"""The names a glob stands for: `*`, `?`, `[ab]`, `[a-c]`, `[^a]`, and `\` before what means itself.

    >>> bool(compiled("trades:*").fullmatch("trades:BTCUSDT")), bool(compiled("h[^e]llo").fullmatch("hello"))
    (True, False)
    """
    text, place = "", 0
    for part in _PARTS.finditer(pattern):
        text += re.escape(pattern[place : part.start()]) + _translated(part)
        place = part.end()
    return re.compile(text + re.escape(pattern[place:]), re.DOTALL)


def _translated(part: re.Match[str]) -> str:
    if part["any"]:
        return ".*"
    if part["one"]:
        return "."
    if part["literal"]:
        return re.escape(part["literal"])
    inside = "".join(_range(*found) for found in _SET.findall(part["set"]))
    if not inside:
        return "." if part["not"] else "(?!)"
    return f"[{part['not']}{inside}]"


def _range(first: str, last: str) -> str:
    if not last:
        return re.escape(first)
    low, high = sorted((first, last))
    return f"{re.escape(low)}-{re.escape(high)}"
