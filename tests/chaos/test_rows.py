"""The table of the fault matrix tells of tests that are there, and leaves no row out."""

from tests.chaos.rows import ROOT, ROWS, Shown, table


def test_every_row_of_the_matrix_is_told_of() -> None:
    assert list(ROWS) == list(range(1, 41))


def test_tests_that_are_named_exist() -> None:
    for row in ROWS.values():
        for name in row.elsewhere:
            path, _, test = name.partition("::")
            assert f"def {test}" in (ROOT / path).read_text(), name


def test_a_row_shows_what_became_of_its_tests() -> None:
    shown = Shown(passed=2, failed=1, files={"tests/faults/test_redis.py": None}, figures=["0 lost", "back in 1 s"])
    row = table({13: shown}).splitlines()[-1]
    assert row.startswith("| 13 | Redis killed (AOF) |")
    assert row.endswith("| 2 passed, **1 failed**: `faults/test_redis.py` | 0 lost; back in 1 s |")
