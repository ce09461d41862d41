"""The shape all sections share: frozen, without unknown keys, silent about the values in them."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails

from cryptostream.config.words import wrong
from cryptostream.logs import mask


class Section(BaseModel):
    """A mapping of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def several(found: Iterable[tuple[tuple[int | str, ...], str]]) -> None:
    """Raise what is wrong at places below the value that is being checked, if anything is."""
    details: list[InitErrorDetails] = [
        InitErrorDetails(type=wrong(what), loc=place, input=None) for place, what in found
    ]
    if details:
        raise ValidationError.from_exception_data("settings", details)


def keys(value: Any) -> str:
    """The keys of a mapping, as an error tells them."""
    return ", ".join(mask(str(key)[:40]) for key in value) or "nothing"
