"""Azure Marketplace: batchUsageEvent of the metered billing API, version 2018-08-31. Pure.

Up to 25 events, one for each resource, dimension and clock hour, each with an answer of its own. A second one for the hour is a Duplicate, whatever
its quantity, and carries the one that was accepted: only if that has our quantity is ours delivered.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from ...schemas.errors import Rejection
from ...schemas.times import NS, format_time, parse_naive_utc
from .http import Answer, Request, for_all, json_of, trouble
from .listings import Listing
from .records import HOUR_S, Outcome, Record, Verdict

__all__ = ["API", "VERSION", "request", "verdicts"]

API = "https://marketplaceapi.microsoft.com"
VERSION = "2018-08-31"
_REFUSED = ("ResourceNotFound", "ResourceNotAuthorized", "ResourceNotActive", "InvalidDimension", "InvalidQuantity", "BadArgument")


def request(listing: Listing, batch: Sequence[Record]) -> Request:
    """batchUsageEvent. Times have no zone there, and are UTC."""
    events = [
        {
            "resourceId": record.wire["resource_id"], "quantity": record.quantity, "dimension": record.dimension,
            "effectiveStartTime": format_time(record.hour * NS).removesuffix("Z"), "planId": record.wire["plan_id"],
        }
        for record in batch
    ]  # fmt: skip
    url = f"{listing.settings.get('url', API).rstrip('/')}/api/batchUsageEvent?api-version={VERSION}"
    return Request("POST", url, {"content-type": "application/json"}, json.dumps({"request": events}, separators=(",", ":")).encode())


def verdicts(answer: Answer, batch: Sequence[Record]) -> dict[str, Verdict]:
    """What batchUsageEvent said of each event."""
    found = json_of(answer)
    if answer.status != 200:
        said = f"{found.get('code') or ''} {found.get('message') or ''}".strip()
        if answer.status in (400, 413):
            return for_all(batch, Verdict(Outcome.APART if len(batch) > 1 else Outcome.REJECTED, f"answered {answer.status} {said}"))
        return for_all(batch, trouble(answer, said) or Verdict(Outcome.NOT_NOW, f"answered {answer.status} {said}", wait_s=60))
    by_key = {(record.wire["resource_id"].lower(), record.dimension, record.hour): record for record in batch}
    verdicts = for_all(batch, Verdict(Outcome.DOUBT, "the answer does not name it"))
    results = found.get("result")
    for result in results if isinstance(results, list) else ():
        record = by_key.get(_key(result))
        if record is not None:
            verdicts[record.id] = _verdict(result, record)
    return verdicts


def _key(result: Any) -> tuple[str, str, int]:
    if not isinstance(result, dict):
        return "", "", 0
    try:
        moment = parse_naive_utc(str(result.get("effectiveStartTime"))) // NS
    except Rejection:
        return "", "", 0
    return str(result.get("resourceId")).lower(), str(result.get("dimension")), moment - moment % HOUR_S


def _verdict(result: dict[str, Any], record: Record) -> Verdict:
    status, receipt = str(result.get("status", "")), str(result.get("usageEventId") or "")
    error = result.get("error")
    detail = f"{status} {error.get('message') or ''}".strip() if isinstance(error, dict) else status
    if status == "Accepted":
        return Verdict(Outcome.ACCEPTED, "", receipt)
    if status == "Duplicate":
        return _duplicate(error, record)
    if status == "Expired":
        return Verdict(Outcome.EXPIRED, detail)
    if status in _REFUSED:
        return Verdict(Outcome.REJECTED, detail)
    return Verdict(Outcome.DOUBT, detail or "no status")  # Error: something went wrong on its side


def _duplicate(error: Any, record: Record) -> Verdict:
    info = error.get("additionalInfo") if isinstance(error, dict) else None
    accepted = info.get("acceptedMessage") if isinstance(info, dict) else None
    quantity = accepted.get("quantity") if isinstance(accepted, dict) else None
    if not isinstance(quantity, int | Decimal) or isinstance(quantity, bool):
        return Verdict(Outcome.DOUBT, "Duplicate, and it does not say of what")
    assert isinstance(accepted, dict)
    receipt = str(accepted.get("usageEventId") or "")
    if quantity == record.quantity:
        return Verdict(Outcome.ACCEPTED, "", receipt)
    return Verdict(Outcome.MISMATCH, f"Duplicate: it has {quantity}", receipt, str(quantity))
