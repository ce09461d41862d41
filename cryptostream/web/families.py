"""The shapes that metrics have, and the text that Prometheus reads, made at the moment of a scrape.

Names follow https://prometheus.io/docs/practices/naming/: base units, and counters end in `_total`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from cryptostream.engine.stats import Histogram

PREFIX = "cryptostream_"
MAX_LABEL = 200
"""Characters of the longest name that becomes a label: whoever may write to the bus chooses names."""
Row = Sequence[Any]
"""A value, None where it is not known, behind its labels."""


def text(families: Callable[[], Iterable[Metric]], accept: str = "") -> tuple[bytes, str]:
    """The metrics and their content type: OpenMetrics for who accepts it, else Prometheus' own text."""
    if "application/openmetrics-text" in accept:
        told: bytes = openmetrics.generate_latest(_Scrape(families))  # type: ignore[no-untyped-call]
        return told, openmetrics.CONTENT_TYPE_LATEST
    return exposition.generate_latest(_Scrape(families)), exposition.CONTENT_TYPE_PLAIN_0_0_4


class _Scrape(Collector):
    """One look, in the shape prometheus-client wants."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families()


def counter(name: str, told: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, told, value)


def counters(name: str, told: str, labels: str, values: Iterable[Row]) -> Metric:
    """A counter with a value for each combination of labels, whose names have a space between them."""
    return _with(values, CounterMetricFamily(PREFIX + name, told, labels=labels.split()))


def gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, told, value)


def gauges(name: str, told: str, labels: str, values: Iterable[Row]) -> Metric:
    """A gauge with a value for each combination of labels, whose names have a space between them."""
    return _with(values, GaugeMetricFamily(PREFIX + name, told, labels=labels.split()))


def _with(values: Iterable[Row], family: CounterMetricFamily | GaugeMetricFamily) -> Metric:
    """What is None is not known, and left out; of two names that are the same when cut, the first is told."""
    told: dict[tuple[str, ...], float] = {}
    for *labels, value in values:
        if value is not None:
            told.setdefault(tuple(str(label)[:MAX_LABEL] for label in labels), value)
    for which, value in told.items():
        family.add_metric(which, value)
    return family


def histogram(name: str, told: str, counted: Histogram) -> Metric:
    """Prometheus' buckets are cumulative: each counts all that are at most its bound."""
    bounds = [*map(floatToGoString, counted.bounds), "+Inf"]
    buckets = list(zip(bounds, map(float, accumulate(counted.counts)), strict=True))
    return HistogramMetricFamily(PREFIX + name, told, buckets, counted.sum)
