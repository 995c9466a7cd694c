"""Stripe billing meter events, v1: identifiers are unique for 24 hours, and not a second longer."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from urllib.parse import parse_qs, urlsplit

from ratemill.sinks.marketplace.http import Answer, Request

from .fake import HOUR_S, Fake, Key, answer

DAY_S = 86_400


@dataclass
class FakeStripe(Fake):
    """customers, meters: those that are known. keys: API keys that are let in; empty: none is asked for."""

    customers: frozenset[str] = frozenset()
    meters: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    _seen: dict[str, int] = field(default_factory=dict)  # identifier -> when

    def judge(self, request: Request) -> Answer:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if self.keys and headers.get("authorization", "").removeprefix("Bearer ") not in self.keys:
            return _error(401, "", "Invalid API Key provided")
        if request.method != "POST" or urlsplit(request.url).path != "/v1/billing/meter_events":
            return _error(404, "resource_missing", "Unrecognized request URL")
        if headers.get("content-type") != "application/x-www-form-urlencoded":
            return _error(400, "parameter_missing", "no fields")
        fields = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        name, identifier, value = fields.get("event_name", ""), fields.get("identifier", ""), fields.get("payload[value]", "")
        customer, stamp, now = fields.get("payload[stripe_customer_id]", ""), fields.get("timestamp", ""), self.clock()
        if name not in self.meters:
            return _error(400, "no_meter", f"No active meter found for event name: {name}")
        if customer not in self.customers:
            return _error(400, "meter_event_customer_not_found", customer)
        if not value.lstrip("-").isdecimal():
            return _error(400, "meter_event_invalid_value", "whole numbers only")
        if not identifier or len(identifier) > 100 or not stamp.isdecimal():
            return _error(400, "parameter_invalid", "identifier, timestamp")
        if now - int(stamp) > 35 * DAY_S:
            return _error(400, "timestamp_too_far_in_past", "more than 35 days ago")
        if int(stamp) - now > 300:
            return _error(400, "timestamp_in_future", "more than 5 minutes ahead")
        if identifier in self._seen and now - self._seen[identifier] < DAY_S:
            return _error(400, "", f"An event already exists with identifier {identifier}.")
        self._seen[identifier] = now
        self.billed.append((Key(customer, name, int(stamp) // HOUR_S * HOUR_S), Fraction(value)))
        return answer(200, {"object": "billing.meter_event", "identifier": identifier, "event_name": name, "timestamp": int(stamp)})


def _error(status: int, code: str, message: str) -> Answer:
    return answer(status, {"error": {"type": "invalid_request_error", "code": code, "message": message}})
