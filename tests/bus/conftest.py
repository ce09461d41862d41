"""A cluster for the tests of this folder, and sentinels for one test at a time."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster, SentinelSetup, started


@pytest.fixture(scope="session")
def _shared_cluster(redis_binary: str) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        made = started(lambda place: Cluster(redis_binary, place, replicated=True), Path(folder))
        yield made
        made.stop()


@pytest.fixture
def cluster(_shared_cluster: Cluster) -> Cluster:
    """An empty cluster of three masters with a replica each, shared by the tests of a session.

    A test that kills a node starts it again; who is a master does not matter to the others.
    """
    _shared_cluster.wait_until_well()
    _shared_cluster.flush()
    return _shared_cluster


@pytest.fixture
def sentinels(redis_binary: str) -> Iterator[Callable[..., SentinelSetup]]:
    """Start a master, replicas and three sentinels of the test's own."""
    made: list[SentinelSetup] = []
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:

        def make(*, replicas: int = 1) -> SentinelSetup:
            made.append(started(lambda place: SentinelSetup(redis_binary, place, replicas=replicas), Path(folder)))
            return made[-1]

        yield make
        for setup in made:
            setup.stop()
