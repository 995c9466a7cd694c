"""Prometheus metrics of the reporter. Listings are labels; customers and accounts never are."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from .records import State

__all__ = ["ReporterMetrics"]


class ReporterMetrics:
    """registry: what the endpoint shows."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self.states = tuple(State)
        self.works = Gauge("ratemill_marketplace_works", "1: this process holds the lease.", registry=r)
        self.errors = Counter("ratemill_marketplace_errors_total", "Steps that failed and are tried again.", ["step"], registry=r)
        self.left = Counter("ratemill_marketplace_left_out_total", "Line items read that count for no dimension, by reason.", ["reason"], registry=r)
        self.answers = Counter("ratemill_marketplace_answers_total", "Records sent, by what came of it.", ["listing", "outcome"], registry=r)
        self.records = Gauge("ratemill_marketplace_records", "Records in the outbox, by state.", ["listing", "state"], registry=r)
        self.oldest = Gauge(
            "ratemill_marketplace_oldest_unsent_seconds", "Age of the oldest hour that is not accepted yet; 0: none.", ["listing"], registry=r
        )
        self.overdue = Gauge("ratemill_marketplace_overdue_hours", "Hours past the alarm, and not accepted.", ["listing"], registry=r)
        self.closes_in = Gauge(
            "ratemill_marketplace_closes_in_seconds", "Until the marketplace takes the oldest no more; -1: nothing waits.", ["listing"], registry=r
        )
        self.read = Gauge("ratemill_marketplace_read_timestamp_seconds", "All line items that were there by then are counted.", registry=r)
