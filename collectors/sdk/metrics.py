"""The figures of a publisher for a Prometheus registry, where prometheus-client is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from .publisher import Metrics

__all__ = ["PublisherCollector"]


class PublisherCollector:
    """`REGISTRY.register(PublisherCollector(publisher.metrics))`; one for each publisher of a process, with labels that tell them apart."""

    def __init__(self, metrics: Callable[[], Metrics], **labels: str) -> None:
        self._metrics, self._labels = metrics, labels

    def collect(self) -> Iterator[Metric]:
        """The figures as of now."""
        found = self._metrics()
        for name, said in (("accepted_events", "Events that are, or were, in the spool"), ("delivered_events", "Events that were acknowledged"),
                           ("retries", "Rounds that failed")):  # fmt: skip
            yield self._of(CounterMetricFamily, name, said, getattr(found, name))
        for name, said in (
            ("waiting_events", "Events in the spool that are not acknowledged"), ("waiting_bytes", "Bytes of them"),
            ("oldest_waiting_s", "Seconds since the oldest of them was accepted"),
            ("refused_events", "Events that Ratemill will never take as they are"),
            ("refused_bytes", "Bytes of them"),
        ):  # fmt: skip
            yield self._of(GaugeMetricFamily, name, said, getattr(found, name))
        yield self._of(GaugeMetricFamily, "failing", "1 while nothing leaves", int(bool(found.failure)))

    def _of(self, family: type[CounterMetricFamily] | type[GaugeMetricFamily], name: str, said: str, value: int) -> Metric:
        made = family(f"ratemill_collector_{name}", said, labels=list(self._labels))
        made.add_metric(list(self._labels.values()), value)
        return made
