"""Prometheus metrics: one for every invariant, lag, and the time from event to visible."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["Metrics"]

_SECONDS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300, 3_600)


class Metrics:
    """All metrics of a worker, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self.received = Counter("ratemill_events_received_total", "Events taken from a source (invariant 2).", ["agent", "topic"], registry=r)
        self.counted = Counter("ratemill_events_counted_total", "Events that count (invariant 2).", ["agent", "topic"], registry=r)
        self.duplicates = Counter("ratemill_events_duplicate_total", "Second deliveries of counted events (invariants 2, 4).", ["topic"], registry=r)
        self.dead_lettered = Counter("ratemill_events_dead_lettered_total", "Dead letters (2, 6).", ["agent", "topic", "reason"], registry=r)
        self.unbalanced = Gauge("ratemill_unbalanced_events", "received - counted - duplicates - dead-lettered; always 0 (2).", ["lane"], registry=r)
        self.line_items = Counter("ratemill_line_items_written_total", "Line items written to usage.rated, restated ones included.", registry=r)
        self.unmetered = Counter("ratemill_events_unmetered_total", "Events counted that every meter leaves out.", ["topic"], registry=r)
        self.unpriced = Counter("ratemill_line_items_unpriced_total", "Line items written without a price: alarm on any increase.", registry=r)
        self.fenced = Counter("ratemill_fenced_total", "Times a lane found that another worker owns its partition (4).", registry=r)
        self.resets = Counter("ratemill_partition_resets_total", "Times a lane dropped its state and restored it (4).", registry=r)
        self.commit_seconds = Histogram("ratemill_commit_seconds", "Duration of a commit.", ["agent"], buckets=_SECONDS, registry=r)
        self.stage_seconds = Histogram(
            "ratemill_stage_seconds",
            "From a record's arrival in Kafka to the commit of what became of it, for the oldest record of each commit. "
            "Event to visible is normalize + rate + index.",
            ["agent"], buckets=_SECONDS, registry=r,
        )  # fmt: skip
        self.restore_seconds = Histogram("ratemill_restore_seconds", "Duration of restoring a partition.", buckets=_SECONDS, registry=r)
        self.restoring = Gauge("ratemill_lanes_restoring", "Lanes of this worker whose partition is not restored yet.", registry=r)
        self.lag = Gauge("ratemill_lag_records", "Records of a source partition not yet fetched.", ["topic", "partition"], registry=r)
        self.queued = Gauge("ratemill_queued_records", "Records fetched and waiting in a lane (8).", ["lane"], registry=r)
        self.visible_seconds = Histogram("ratemill_rated_to_visible_seconds", "From commit to acknowledgement.", buckets=_SECONDS, registry=r)
        self.indexed = Counter("ratemill_line_items_indexed_total", "Line items that Elasticsearch took.", registry=r)
        self.superseded = Counter("ratemill_line_items_superseded_total", "Line items that were there already, or newer (409).", registry=r)
        self.refused = Counter("ratemill_line_items_refused_total", "Line items that Elasticsearch refused for good.", registry=r)
        self.sink_retries = Counter("ratemill_sink_retries_total", "Bulk requests or items tried again.", registry=r)
        self.bulk_seconds = Histogram("ratemill_bulk_seconds", "Duration of a bulk request.", buckets=_SECONDS, registry=r)
