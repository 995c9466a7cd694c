"""What the Elasticsearch sink reports, as Prometheus metrics, and in the log what it tries again and why."""

from __future__ import annotations

import time

import structlog

from .metrics import Metrics

__all__ = ["PrometheusSinkMetrics"]


SAY_AGAIN_S = 60.0


class PrometheusSinkMetrics:
    """A `SinkMetrics` that feeds the worker's registry. The log says each kind of trouble when it begins, and once a minute."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = structlog.get_logger("ratemill.sink")
        self._said = ("", 0.0)

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
        now = time.monotonic()
        if kind != self._said[0] or now - self._said[1] >= SAY_AGAIN_S:
            self._said = (kind, now)
            self._log.warning("elasticsearch_tried_again", kind=kind, detail=detail, items=items)
