"""The words of a filter: numbers, quoted text, names, keywords and signs, each with its place."""

import re
from typing import NamedTuple

from cryptostream.errors import UsageError

_KEYWORDS = frozenset({"and", "or", "not", "in", "true", "false"})
_MISTAKES = {"=": "==", "&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "<>": "!="}
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<text>"[^"]*"|'[^']*')
    | (?P<name>[^\W\d]\w*)
    | (?P<sign><>|&&|\|\||[=!<>]=|[-+*/(),<>=&|!])
    | (?P<end>$)
    )""",
    re.VERBOSE,
)


class WhereError(UsageError):
    """A filter that cannot be read; the message shows the place."""

    def __init__(self, what: str, text: str, at: int, hint: str = "") -> None:
        start = max(0, at - 60)
        shown = "".join(letter if letter.isprintable() else " " for letter in text[start : at + 40])
        super().__init__(f"cannot read the filter: {what}\n  {shown}\n  {' ' * (at - start)}^", hint=hint)


class Token(NamedTuple):
    """One word; `kind` is number, text, name, keyword, sign or end."""

    kind: str
    text: str
    at: int

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end"
        return f"this {self.kind}" if self.kind in ("number", "text") else f'"{self.text}"'


class Words:
    """A filter read word by word; `next` is the one not yet taken. Raises WhereError where there is no word."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.next = self._scan(0)

    def at(self, *words: str) -> bool:
        """Whether one of these keywords or signs comes next."""
        return self.next.kind in ("sign", "keyword") and self.next.text in words

    def take(self, *words: str) -> str:
        """Step over one of these keywords or signs and return it; an empty string where none of them comes next."""
        return self.advance().text if self.at(*words) else ""

    def expect(self, word: str) -> None:
        """Step over this keyword or sign. Raises WhereError where it does not come next."""
        if not self.take(word):
            raise self.unexpected(f'"{word}"')

    def advance(self) -> Token:
        """Step over the next word, whatever it is."""
        token = self.next
        self.next = self._scan(self._end)
        return token

    def unexpected(self, wanted: str) -> WhereError:
        """The error for a word that cannot stand where it stands."""
        meant = _MISTAKES.get(self.next.text, "") if self.next.kind == "sign" else ""
        hint = f'did you mean "{meant}"?' if meant else ""
        return WhereError(f"expected {wanted}, found {self.next}", self.text, self.next.at, hint)

    def _scan(self, start: int) -> Token:
        match = _TOKEN.match(self.text, start)
        if match is None:
            raise self._not_a_word(len(self.text) - len(self.text[start:].lstrip()))
        kind = match.lastgroup or "end"
        self._end = match.end()
        if kind == "name" and match[kind].lower() in _KEYWORDS:
            return Token("keyword", match[kind].lower(), match.start(kind))
        return Token(kind, match[kind], match.start(kind))

    def _not_a_word(self, at: int) -> WhereError:
        unclosed = self.text[at] in "\"'"
        return WhereError("this quote is never closed" if unclosed else f"unexpected {self.text[at]!a}", self.text, at)
