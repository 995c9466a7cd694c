"""Stripe: billing meter events, v1. Pure.

One event a request. Stripe refuses an identifier that it knows, and does not say with which value; it forgets identifiers after 24 hours. So a
duplicate is taken for delivered only if a try of ours is without an answer (and the value of an identifier never changes here), and no try
is made when such an answer is missing for nearly as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from .http import Answer, Request, json_of, trouble
from .listings import Listing
from .records import Outcome, Record, Verdict

__all__ = ["API", "request", "verdicts"]

API = "https://api.stripe.com"


def request(listing: Listing, batch: Sequence[Record]) -> Request:
    """POST /v1/billing/meter_events; the dimension is the event name of the meter. A batch has one record."""
    (record,) = batch
    fields = {
        "event_name": record.dimension, "identifier": record.id, "timestamp": str(record.hour),
        "payload[stripe_customer_id]": record.wire["customer_id"], "payload[value]": str(record.quantity),
    }  # fmt: skip
    url = f"{listing.settings.get('url', API).rstrip('/')}/v1/billing/meter_events"
    return Request("POST", url, {"content-type": "application/x-www-form-urlencoded"}, urlencode(fields).encode())


def verdicts(answer: Answer, batch: Sequence[Record]) -> dict[str, Verdict]:
    """What Stripe said of the event."""
    (record,) = batch
    return {record.id: _verdict(answer, json_of(answer), record)}


def _verdict(answer: Answer, found: dict[str, Any], record: Record) -> Verdict:
    if answer.status == 200:
        if found.get("identifier") == record.id:
            return Verdict(Outcome.ACCEPTED, "", record.id)
        return Verdict(Outcome.DOUBT, "the answer does not name it")
    error = found.get("error")
    code, message = (str(error.get("code") or ""), str(error.get("message") or "")) if isinstance(error, dict) else ("", "")
    said = f"{code} {message}".strip()
    if code == "duplicate_meter_event" or "already exists with identifier" in message:
        if record.doubts:
            return Verdict(Outcome.ACCEPTED, "", record.id)
        return Verdict(Outcome.MISMATCH, "it has an event with this identifier, and it is not from here")
    if code == "timestamp_too_far_in_past":
        return Verdict(Outcome.EXPIRED, said)
    if answer.status in (400, 404):
        return Verdict(Outcome.REJECTED, f"answered {answer.status} {said}")
    return trouble(answer, said) or Verdict(Outcome.NOT_NOW, f"answered {answer.status} {said}", wait_s=60)
