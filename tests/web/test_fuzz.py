"""The API under what schemathesis makes of its own description: no 500, and every answer is one that is described."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from cryptostream.web import site
from tests.web.probes import FakeCommands, FakeProbes

ENDLESS = "/api/v1/events"
LENIENT = ("ignored_auth", "positive_data_acceptance")
"""Checks that do not hold here: the guard stands elsewhere, and a schema cannot say that `since` is a time."""


@pytest.mark.row(36)
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_path_answers_as_it_says(mode: str) -> None:
    import schemathesis  # slow, and of no use to whoever only collects
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    lenient = CHECKS.get_by_names(LENIENT)

    def answers(case: Any) -> None:
        case.call_and_validate(excluded_checks=lenient)

    app = site.make(FakeProbes(), FakeCommands(), secret="-", dashboard=False)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app).exclude(path=ENDLESS)
    operations = [found.ok() for found in schema.get_all_operations()]
    asked = [one for one in operations if mode == "positive" or takes_anything(one)]
    assert len(asked) > 20
    for operation in asked:
        generated = operation.as_strategy(schemathesis.GenerationMode(mode))
        BOUNDED(given(case=generated)(answers))()


def takes_anything(operation: Any) -> bool:
    return bool(operation.body) or any(True for _ in operation.iter_parameters())


BOUNDED = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
