"""The fingerprint of a run: everything that matters moves it, and nothing else."""

import hashlib
from collections.abc import Iterable

import pytest

from cryptostream.model.digest import Digest

Added = tuple[str, str, dict[str, str]]
A1: Added = ("a", "1-1", {"price": "1.0", "qty": "2"})
A2: Added = ("a", "2-2", {"price": "1.1", "qty": "3"})
B1: Added = ("b", "1-1", {"price": "9"})


def digest(*entries: Added) -> str:
    made = Digest()
    for entry in entries:
        made.add(*entry)
    return made.hexdigest()


def text(value: str) -> bytes:
    return len(value.encode()).to_bytes(4, "big") + value.encode()


def by_the_book(streams: dict[str, Iterable[Added]]) -> str:
    """The docstring's definition, spelt out."""
    whole = b""
    for name, entries in sorted(streams.items()):
        parts = [
            text(entry_id)
            + len(fields).to_bytes(4, "big")
            + b"".join(text(part) for field in fields.items() for part in field)
            for _, entry_id, fields in entries
        ]
        whole += text(name) + len(parts).to_bytes(8, "big") + hashlib.sha256(b"".join(parts)).digest()
    return hashlib.sha256(whole).hexdigest()


def test_it_is_what_its_definition_says() -> None:
    assert digest(A1, B1, A2) == by_the_book({"b": [B1], "a": [A1, A2]})
    assert digest() == hashlib.sha256().hexdigest()


def test_streams_may_interleave_in_any_way() -> None:
    assert digest(A1, A2, B1) == digest(B1, A1, A2) == digest(A1, B1, A2)


OTHERS: dict[str, list[Added]] = {
    "order within a stream": [A2, A1],
    "an entry more": [A1, A2, A2],
    "an entry less": [A1],
    "another id": [A1, ("a", "2-3", A2[2])],
    "another value": [A1, ("a", "2-2", {"price": "1.10", "qty": "3"})],
    "another field name": [A1, ("a", "2-2", {"price": "1.1", "size": "3"})],
    "another order of fields": [A1, ("a", "2-2", {"qty": "3", "price": "1.1"})],
    "a field less, as without raw_json": [A1, ("a", "2-2", {"price": "1.1"})],
    "another stream": [A1, ("b", *A2[1:])],
    "texts that run together": [A1, ("a", "2-2", {"price": "1.1q", "ty": "3"})],
}


@pytest.mark.parametrize("entries", OTHERS.values(), ids=OTHERS)
def test_everything_that_matters_moves_it(entries: list[Added]) -> None:
    assert digest(*entries) != digest(A1, A2)


def test_it_can_be_asked_on_the_way() -> None:
    made = Digest()
    made.add(*A1)

    assert made.hexdigest() == digest(A1) == made.hexdigest()
    made.add(*A2)
    assert made.hexdigest() == digest(A1, A2)
    assert made.entries == 2


def test_letters_of_any_script_and_lone_surrogates_are_taken() -> None:
    assert digest(("trades:币安人生USDT", "1-1", {"x": "\ud800"})) != digest(("trades:币安人生USDT", "1-1", {"x": "?"}))
