"""Google Cloud Marketplace: services.report of the Service Control API, v1. Pure.

An operation has an id of its own, by which Google de-duplicates it; the same id always has the same quantity and interval here. An answer of 200
may still refuse some operations (reportErrors). A request that failed has an unknown outcome, and is sent again under the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...schemas.times import NS, format_time
from .http import Answer, Request, for_all, read_json, trouble
from .listings import Listing
from .records import HOUR_S, Outcome, Record, Verdict

__all__ = ["API", "request", "verdicts"]

API = "https://servicecontrol.googleapis.com"
_NOT_ITS_FAULT = (1, 2, 4, 8, 10, 13, 14)  # CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNAVAILABLE


def request(listing: Listing, batch: Sequence[Record]) -> Request:
    """services.report with one operation for each record."""
    service = listing.settings["service"]
    body = {"operations": [_operation(service, record) for record in batch]}
    url = f"{listing.settings.get('url', API).rstrip('/')}/v1/services/{service}:report"
    return Request("POST", url, {"content-type": "application/json"}, json.dumps(body, separators=(",", ":")).encode())


def _operation(service: str, record: Record) -> dict[str, Any]:
    start, end = format_time(record.hour * NS), format_time((record.hour + HOUR_S) * NS)
    value = {"int64Value": str(record.quantity), "startTime": start, "endTime": end}
    return {
        "operationId": record.id, "operationName": "usage_report", "consumerId": record.wire["usage_reporting_id"], "startTime": start,
        "endTime": end, "metricValueSets": [{"metricName": f"{service}/{record.dimension}", "metricValues": [value]}],
    }  # fmt: skip


def verdicts(answer: Answer, batch: Sequence[Record]) -> dict[str, Verdict]:
    """What services.report said of each operation: those that it does not name in an answer of 200 are taken."""
    found = read_json(answer)
    if answer.status == 200 and found is None:
        return for_all(batch, Verdict(Outcome.DOUBT, "the answer cannot be read"))
    found = found or {}
    if answer.status != 200:
        error = found.get("error")
        said = f"{error.get('status') or ''} {error.get('message') or ''}".strip() if isinstance(error, dict) else ""
        if answer.status == 400:
            return for_all(batch, Verdict(Outcome.APART if len(batch) > 1 else Outcome.REJECTED, f"answered 400 {said}"))
        return for_all(batch, trouble(answer, said) or Verdict(Outcome.NOT_NOW, f"answered {answer.status} {said}", wait_s=60))
    verdicts = for_all(batch, Verdict(Outcome.ACCEPTED))
    errors = found.get("reportErrors")
    for each in errors if isinstance(errors, list) else ():
        if isinstance(each, dict) and str(each.get("operationId")) in verdicts:
            verdicts[str(each["operationId"])] = _refusal(each.get("status"))
    return verdicts


def _refusal(status: Any) -> Verdict:
    code, message = (status.get("code"), str(status.get("message") or "")) if isinstance(status, dict) else (None, "")
    if code in _NOT_ITS_FAULT or not isinstance(code, int):
        return Verdict(Outcome.DOUBT, f"error {code} {message}".strip())
    return Verdict(Outcome.REJECTED, f"error {code} {message}".strip())
