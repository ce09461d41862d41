"""What strategies are called."""

import re
from pathlib import Path

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def label(name: str) -> str:
    """What the signals of a strategy are called unless told: its name, the class without its package, the file's stem.

    >>> label("macd_rsi"), label("my_pkg.strategies:Breakout"), label("strategies/fade.py")
    ('macd_rsi', 'Breakout', 'fade')
    """
    file, _, own = name.partition(":")
    return own or (Path(file).stem if file.endswith(".py") else file)


def is_label(text: str) -> bool:
    """Whether a stream of signals can have this name.

    >>> is_label("rsi-7"), is_label("signals:rsi")
    (True, False)
    """
    return _LABEL.fullmatch(text) is not None
