"""Prometheus metrics of the HTTP interface."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

__all__ = ["ApiMetrics"]


class ApiMetrics:
    """All of them, on one registry. Labels come from fixed sets only: nothing that a caller chooses becomes one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter("ratemill_api_requests_total", "Requests answered.", ["route", "status"], registry=registry)
        self.seconds = Histogram("ratemill_api_request_seconds", "From a request's first byte to its answer's last.", ["route"], registry=registry)
        self.events = Counter("ratemill_api_events_total", "Events received over HTTP, by what became of them.", ["status"], registry=registry)
