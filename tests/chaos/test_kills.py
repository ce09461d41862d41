"""Row 24: whatever is killed, entries are in Parquet once and signals are told once."""

from collections.abc import Callable
from random import SystemRandom

import pytest

from tests.chaos import kills


@pytest.mark.chaos
@pytest.mark.row(24)
@pytest.mark.timeout(600)
async def test_a_recorder_and_a_signaller_survive_any_kill(record_property: Callable[[str, object], None]) -> None:
    found = await kills.run(20, seed=SystemRandom().randrange(2**32))
    assert not found.failed, str(found)
    told = f"{found.kills.total()} kills: {found.recorded:,} of {found.entries:,} entries, {found.signals:,} signals"
    record_property("figure", told)
