"""What the Elasticsearch sink reports, as Prometheus metrics."""

from __future__ import annotations

from .metrics import Metrics

__all__ = ["PrometheusSinkMetrics"]


class PrometheusSinkMetrics:
    """A `SinkMetrics` that feeds the worker's registry."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def indexed(self, items: int) -> None:
        self._metrics.indexed.inc(items)

    def already_there(self, items: int) -> None:
        self._metrics.superseded.inc(items)

    def superseded(self, items: int) -> None:
        self._metrics.superseded.inc(items)

    def refused(self, items: int) -> None:
        self._metrics.refused.inc(items)

    def request(self, seconds: float, items: int, size_bytes: int) -> None:
        self._metrics.bulk_seconds.observe(seconds)

    def retrying(self, kind: str, detail: str, items: int, delay_seconds: float) -> None:
        self._metrics.sink_retries.inc()
