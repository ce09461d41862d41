"""A filter as people write it, `qty*price > 1e5 and side == "buy"`, becomes a yes or no for each entry.

    condition   = every ("or" every)*              every  = single ("and" single)*
    single      = "not"* comparison
    comparison  = value (("==" "!=" "<" "<=" ">" ">=") value)*  |  value ["not"] "in" "(" value ("," value)* ")"
    value       = term (("+" | "-") term)*         term   = factor (("*" | "/") factor)*
    factor      = "-"* atom                        atom   = number | text | "true" | "false" | name | "(" condition ")"

An entry's fields are text. They are read as what they are compared with: beside a number as a number, beside quoted
text as text, beside true or false as that; two fields are numbers where both can be. Numbers are decimals of 50 digits,
never floats, so `price == 45123.5` holds for "45123.50000000" and for nothing else. A comparison with a field that is
missing or cannot be read does not hold, whether == or !=. A name alone holds where its field says `true`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from enum import Enum
from operator import eq, ge, gt, le, lt, ne
from typing import Any, get_args

from cryptostream.model.events import Entry, Record
from cryptostream.registry import did_you_mean
from cryptostream.transforms.tokens import Token, WhereError, Words

MAX_LENGTH = 1000
MAX_DEPTH = 20
"""Parentheses inside parentheses."""

Fields = Mapping[str, str]
Where = Callable[[Fields], bool]
Scalar = Decimal | str | bool | None
"""What a value is for one entry; None where a field is missing or cannot be read."""
_Read = Callable[[Fields], Scalar]

_SIGNAL_FIELDS = ("strategy", "strength", "reason")
_RECORD_FIELDS = {name for kind in get_args(Record) for name in kind.__struct_fields__} - {"subscription"}
FIELDS = frozenset({"stream", "entry_id", "exchange", "pair", "interval", "kind", *_RECORD_FIELDS, *_SIGNAL_FIELDS})
"""Every name that some kind of entry has."""

_DECIMALS = Context(prec=50, traps=[])
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {"==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_CALCULATE = {"+": _DECIMALS.add, "-": _DECIMALS.subtract, "*": _DECIMALS.multiply, "/": _DECIMALS.divide}


def compile(text: str, known: Collection[str] | None = FIELDS) -> Where:  # noqa: A001 - the verb of the field
    """Make a filter of its text. `known` are the names it may use; None allows any.

    >>> large_buys = compile('qty*price > 1e5 and side == "buy"')
    >>> large_buys({"qty": "3.00000000", "price": "45123.50000000", "side": "buy"})
    True
    >>> large_buys({"kind": "gap", "gap_from": "17"})
    False

    Raises WhereError for anything that is not a filter.
    """
    if len(text) > MAX_LENGTH:
        raise WhereError(f"longer than {MAX_LENGTH} characters", text, MAX_LENGTH)
    return _Parser(text, known).parse()


def facts(entry: Entry) -> dict[str, str]:
    """All that a filter can name of an entry: its fields, `stream` and `entry_id`."""
    return {**entry.fields, "stream": entry.stream, "entry_id": entry.entry_id}


class _Kind(Enum):
    NUMBER = "number"
    TEXT = "text"
    TRUTH = "truth"
    FIELD = "field"


@dataclass(frozen=True, slots=True)
class _Value:
    kind: _Kind
    read: _Read
    at: int


@dataclass(frozen=True, slots=True)
class _Condition:
    holds: Where
    at: int


_Node = _Value | _Condition


class _Parser:
    """Recursive descent, one method per line of the grammar. Repetition loops, so only parentheses nest."""

    def __init__(self, text: str, known: Collection[str] | None) -> None:
        self._words = Words(text)
        self._known = known
        self._depth = 0

    def parse(self) -> Where:
        if self._words.next.kind == "end":
            raise WhereError("it is empty", "", 0, hint='for example: qty*price > 1e5 and side == "buy"')
        where = self._holding(self._condition())
        if self._words.next.kind != "end":
            raise self._words.unexpected("an operator, and, or or the end")
        return where

    def _condition(self) -> _Node:
        return self._joined("or", lambda: self._joined("and", self._single, all_of), any_of)

    def _joined(self, word: str, part: Callable[[], _Node], join: Callable[[Sequence[Where]], Where]) -> _Node:
        first = part()
        if not self._words.at(word):
            return first
        parts = [self._holding(first)]
        while self._words.take(word):
            parts.append(self._holding(part()))
        return _Condition(join(parts), first.at)

    def _single(self) -> _Node:
        at, negations = self._words.next.at, 0
        while self._words.take("not"):
            negations += 1
        node = self._comparison()
        if not negations:
            return node
        holds = self._holding(node)
        return _Condition(_opposite(holds) if negations % 2 else holds, at)

    def _comparison(self) -> _Node:
        first = left = self._sum()
        if self._words.at("not", "in"):
            return self._membership(self._value(first))
        links: list[Where] = []
        while sign := self._words.take(*_COMPARE):
            right = self._sum()
            links.append(_comparison(self._value(left), sign, self._value(right)))
            left = right
        return _Condition(all_of(links), first.at) if links else first

    def _membership(self, left: _Value) -> _Node:
        negated = bool(self._words.take("not"))
        self._words.expect("in")
        self._words.expect("(")
        choices = [self._value(self._sum())]
        while self._words.take(","):
            choices.append(self._value(self._sum()))
        self._words.expect(")")
        found = any_of([_comparison(left, "==", choice) for choice in choices])
        return _Condition(_present_without(left, found) if negated else found, left.at)

    def _sum(self) -> _Node:
        return self._calculated(("+", "-"), lambda: self._calculated(("*", "/"), self._factor))

    def _calculated(self, signs: Sequence[str], part: Callable[[], _Node]) -> _Node:
        first = part()
        if not self._words.at(*signs):
            return first
        steps = []
        while sign := self._words.take(*signs):
            steps.append((_CALCULATE[sign], self._value(part()).read))
        return _Value(_Kind.NUMBER, _calculation(self._value(first).read, steps), first.at)

    def _factor(self) -> _Node:
        at, signs = self._words.next.at, 0
        while self._words.take("-"):
            signs += 1
        atom = self._atom()
        if not signs:
            return atom
        one = _constant(_Kind.NUMBER, Decimal(-1 if signs % 2 else 1), at)
        return _Value(_Kind.NUMBER, _calculation(one.read, [(_CALCULATE["*"], self._value(atom).read)]), at)

    def _atom(self) -> _Node:
        at = self._words.next.at
        if self._words.take("("):
            return self._nested(at)
        if truth := self._words.take("true", "false"):
            return _constant(_Kind.TRUTH, truth == "true", at)
        read = {"number": self._number, "text": self._quoted, "name": self._name}.get(self._words.next.kind)
        if read is None:
            raise self._words.unexpected("a name, a number or quoted text")
        return read(self._words.advance())

    def _nested(self, at: int) -> _Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise WhereError(f"more than {MAX_DEPTH} parentheses inside each other", self._words.text, at)
        inner = self._condition()
        self._words.expect(")")
        self._depth -= 1
        return inner

    def _number(self, token: Token) -> _Value:
        number = _number(token.text)
        if number is None:
            raise WhereError("the number is too large", self._words.text, token.at)
        return _constant(_Kind.NUMBER, number, token.at)

    def _quoted(self, token: Token) -> _Value:
        return _constant(_Kind.TEXT, token.text[1:-1], token.at)

    def _name(self, token: Token) -> _Value:
        name = token.text
        if self._known is not None and name not in self._known:
            fields = ", ".join(sorted(self._known))
            hint = did_you_mean(name, self._known) or f'text goes in quotes, "{name}"; fields: {fields}'
            raise WhereError(f'no entry has a field "{name}"', self._words.text, token.at, hint)
        return _Value(_Kind.FIELD, lambda fields: fields.get(name), token.at)

    def _holding(self, node: _Node) -> Where:
        """A node where a yes or no is needed."""
        if isinstance(node, _Condition):
            return node.holds
        if node.kind in (_Kind.NUMBER, _Kind.TEXT):
            raise WhereError("this is not a condition, compare it with something", self._words.text, node.at)
        return lambda fields: _truth(node.read(fields)) is True

    def _value(self, node: _Node) -> _Value:
        """A node where something to compare or to calculate with is needed."""
        if isinstance(node, _Condition):
            hint = "conditions are joined with and, or"
            raise WhereError("this is a condition, not a value", self._words.text, node.at, hint)
        return node


def all_of(conditions: Sequence[Where]) -> Where:
    """A filter that holds where all of these do."""
    return lambda fields: all(holds(fields) for holds in conditions)


def any_of(conditions: Sequence[Where]) -> Where:
    """A filter that holds where one of these does."""
    return lambda fields: any(holds(fields) for holds in conditions)


def _constant(kind: _Kind, value: Scalar, at: int) -> _Value:
    return _Value(kind, lambda _: value, at)


def _opposite(holds: Where) -> Where:
    return lambda fields: not holds(fields)


def _present_without(left: _Value, found: Where) -> Where:
    return lambda fields: left.read(fields) is not None and not found(fields)


def _comparison(left: _Value, sign: str, right: _Value) -> Where:
    compare, reading = _COMPARE[sign], _reading(left.kind, right.kind)
    read_left, read_right = left.read, right.read

    def holds(fields: Fields) -> bool:
        one, other = reading(read_left(fields), read_right(fields))
        return one is not None and other is not None and compare(one, other)

    return holds


def _reading(*kinds: _Kind) -> Callable[[Scalar, Scalar], tuple[Scalar, Scalar]]:
    """How the two sides of a comparison are read, decided by what they are and not by what an entry holds."""
    if _Kind.NUMBER in kinds:
        return lambda one, other: (_number(one), _number(other))
    if _Kind.TRUTH in kinds:
        return lambda one, other: (_truth(one), _truth(other))
    return (lambda one, other: (one, other)) if _Kind.TEXT in kinds else _alike


def _alike(one: Scalar, other: Scalar) -> tuple[Scalar, Scalar]:
    numbers = _number(one), _number(other)
    return (one, other) if None in numbers else numbers


def _calculation(first: _Read, steps: Sequence[tuple[Callable[[Decimal, Decimal], Decimal], _Read]]) -> _Read:
    def read(fields: Fields) -> Scalar:
        total = _number(first(fields))
        for calculate, operand in steps:
            number = _number(operand(fields))
            if total is None or number is None:
                return None
            total = calculate(total, number)
        return total

    return read


def _number(value: Scalar) -> Decimal | None:
    """A finite number, or None; dividing by zero makes none."""
    if isinstance(value, str):
        value = _DECIMALS.create_decimal(value)
    return value if isinstance(value, Decimal) and value.is_finite() else None


def _truth(value: Scalar) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None
