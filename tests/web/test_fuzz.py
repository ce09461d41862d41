"""The API under what schemathesis makes of its own description: no 500, and every answer is one that is described.

`FUZZ=100` tries a hundred requests of each path; so does the marker `chaos`.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from cryptostream.web import site
from tests.web.probes import FakeCommands, FakeProbes

ENDLESS = "/api/v1/events"
LENIENT = ("ignored_auth", "positive_data_acceptance")
"""Checks that do not hold here: the guard stands elsewhere, and a schema cannot say that `since` is a time."""
FEW, MANY = int(os.environ.get("FUZZ", "2")), 100
MODES = ["positive", "negative"]

Judge = Callable[[Any], None]


@pytest.fixture(scope="module")
def operations() -> list[Any]:
    import schemathesis  # slow, and of no use to whoever only collects

    app = site.make(FakeProbes(), FakeCommands(), secret="-", dashboard=False)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app).exclude(path=ENDLESS)
    return [found.ok() for found in schema.get_all_operations()]


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Asks for one case, and says whether the answer is a described one."""
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    lenient = CHECKS.get_by_names(LENIENT)

    def judged(case: Any) -> None:
        case.call_and_validate(excluded_checks=lenient)

    return judged


@pytest.mark.row(36)
@pytest.mark.parametrize("mode", MODES)
def test_every_path_answers_as_it_says(operations: list[Any], judge: Judge, mode: str) -> None:
    fuzz(operations, judge, mode, FEW)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", MODES)
def test_every_path_answers_whatever_it_is_asked(operations: list[Any], judge: Judge, mode: str) -> None:
    fuzz(operations, judge, mode, MANY)


def fuzz(operations: list[Any], judge: Judge, mode: str, examples: int) -> None:
    import schemathesis

    asked = [one for one in operations if mode == "positive" or takes_anything(one)]
    assert len(asked) > 20
    for operation in asked:
        generated = operation.as_strategy(schemathesis.GenerationMode(mode))
        settings(BOUNDED, max_examples=examples)(given(case=generated)(judge))()


def takes_anything(operation: Any) -> bool:
    return bool(operation.body) or any(True for _ in operation.iter_parameters())


BOUNDED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
