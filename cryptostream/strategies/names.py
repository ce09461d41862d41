"""What strategies are called."""

from pathlib import Path


def label(name: str) -> str:
    """What the signals of a strategy are called unless told: its name, the class without its package, the file's stem.

    >>> label("macd_rsi"), label("my_pkg.strategies:Breakout"), label("strategies/fade.py")
    ('macd_rsi', 'Breakout', 'fade')
    """
    file, _, own = name.partition(":")
    return own or (Path(file).stem if file.endswith(".py") else file)
