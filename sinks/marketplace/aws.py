"""AWS Marketplace: BatchMeterUsage of the Metering Service, version 2016-01-14. Pure.

Up to 25 records of one product. The same record again is a Success; one with another quantity is a DuplicateRecord and is not honoured.
Some mistakes refuse the whole batch and do not say which record it was: each is then sent by itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...pricing.money import money
from .http import Answer, Request, for_all, json_of, trouble
from .listings import Listing
from .records import Outcome, Record, Verdict

__all__ = ["request", "verdicts"]

TARGET = "AWSMPMeteringService.BatchMeterUsage"
_OF_ONE = {
    "TimestampOutOfBoundsException": Outcome.EXPIRED,
    "InvalidUsageDimensionException": Outcome.REJECTED,
    "InvalidCustomerIdentifierException": Outcome.REJECTED,
    "InvalidLicenseException": Outcome.REJECTED,
    "InvalidTagException": Outcome.REJECTED,
    "InvalidUsageAllocationsException": Outcome.REJECTED,
    "ValidationException": Outcome.REJECTED,
    "SerializationException": Outcome.REJECTED,
}
# A person has to mend the settings; nothing was taken.
_OF_ALL = (
    "InvalidProductCodeException", "DisabledApiException", "AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException",
    "InvalidSignatureException", "MissingAuthenticationTokenException", "IncompleteSignature", "OptInRequired",
)  # fmt: skip
_THROTTLED = ("ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded")


def request(listing: Listing, batch: Sequence[Record]) -> Request:
    """BatchMeterUsage. Identifiers of customers go with a product code, licenses without one (and their quantities are decimal texts)."""
    product = listing.settings.get("product_code", "")
    body: dict[str, Any] = {"UsageRecords": [_usage_record(record) for record in batch]}
    if product:
        body["ProductCode"] = product
    url = listing.settings.get("url") or f"https://metering.marketplace.{listing.settings['region']}.amazonaws.com"
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": TARGET}
    return Request("POST", url.rstrip("/") + "/", headers, json.dumps(body, separators=(",", ":")).encode())


def _usage_record(record: Record) -> dict[str, Any]:
    names = record.wire
    own = {"Timestamp": record.hour, "Dimension": record.dimension}
    if "identifier" in names:
        return {**own, "CustomerIdentifier": names["identifier"], "Quantity": record.quantity}
    return {
        **own, "CustomerAWSAccountId": names["account_id"], "LicenseArn": names["license_arn"], "QuantityAsDecimal": str(record.quantity)
    }  # fmt: skip


def verdicts(answer: Answer, batch: Sequence[Record]) -> dict[str, Verdict]:
    """What BatchMeterUsage said of each record."""
    found = json_of(answer)
    if answer.status != 200:
        return for_all(batch, _refusal(answer, found, len(batch)))
    by_key = {_key(_usage_record(record)): record for record in batch}
    said: dict[str, Verdict] = {}
    for result in _list(found.get("Results")):
        record = by_key.get(_key(result.get("UsageRecord")))
        if record is not None:
            said[record.id] = _verdict(result, record)
    for left in _list(found.get("UnprocessedRecords")):
        record = by_key.get(_key(left))
        if record is not None:
            said[record.id] = Verdict(Outcome.NOT_NOW, "it was not processed")
    return for_all(batch, Verdict(Outcome.DOUBT, "the answer does not name it")) | said


def _verdict(result: dict[str, Any], record: Record) -> Verdict:
    status, receipt = str(result.get("Status", "")), str(result.get("MeteringRecordId") or "")
    if status == "Success":
        return Verdict(Outcome.ACCEPTED, "", receipt)
    if status == "DuplicateRecord":
        return Verdict(Outcome.MISMATCH, "DuplicateRecord: it has another quantity for this hour", receipt)
    if status == "CustomerNotSubscribed":
        return Verdict(Outcome.REJECTED, "CustomerNotSubscribed", receipt)
    return Verdict(Outcome.DOUBT, f"status {status[:60]!r}", receipt)


def _refusal(answer: Answer, found: dict[str, Any], size: int) -> Verdict:
    name = str(found.get("__type", "")).rpartition("#")[2].partition(":")[0]
    detail = f"{name} {found.get('message') or found.get('Message') or ''}".strip()
    if name in _THROTTLED:
        return Verdict(Outcome.NOT_NOW, detail)
    if name in _OF_ALL:
        return Verdict(Outcome.NOT_NOW, detail, wait_s=60)
    if name in _OF_ONE and 400 <= answer.status < 500:
        return Verdict(Outcome.APART if size > 1 else _OF_ONE[name], detail)
    return trouble(answer, detail) or Verdict(Outcome.DOUBT, f"answered {answer.status} {detail}")


def _key(usage_record: Any) -> tuple[str, ...]:
    """What tells records of a batch apart. Quantities are not in it: of two answers for one key the record's own counts."""
    if not isinstance(usage_record, dict):
        return ()
    stamp = usage_record.get("Timestamp")
    try:
        hour = int(money(str(stamp)))  # a number of seconds, with or without a fraction
    except ValueError:
        hour = -1
    names = (usage_record.get("LicenseArn") or usage_record.get("CustomerIdentifier") or "", usage_record.get("Dimension") or "")
    return (str(hour), *map(str, names))


def _list(found: Any) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
