"""AWS Marketplace Metering Service, from the published model (2016-01-14): BatchMeterUsage with all its refusals."""

from __future__ import annotations

import calendar
import json
import time
import uuid
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ratemill.sinks.marketplace.http import Answer, Request

from .fake import HOUR_S, Fake, Key, answer

LARGEST = 2**31 - 1
DAY_S = 86_400


class Refused(Exception):
    def __init__(self, kind: str, message: str = "") -> None:
        self.kind, self.message = kind, message


@dataclass
class FakeAws(Fake):
    """products: code -> (customer identifier -> whether it is subscribed). licenses: ARN -> account. unprocessed: chooses records to leave out."""

    products: dict[str, dict[str, bool]] = field(default_factory=dict)
    licenses: dict[str, str] = field(default_factory=dict)
    dimensions: frozenset[str] = frozenset()
    lateness_s: int = DAY_S
    signed: bool = False
    unprocessed: Any = None
    _ids: dict[Key, str] = field(default_factory=dict)

    def judge(self, request: Request) -> Answer:
        try:
            return answer(200, self._batch(request))
        except Refused as refused:
            return answer(400, {"__type": refused.kind, "message": refused.message})

    def _batch(self, request: Request) -> dict[str, Any]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.method != "POST" or headers.get("x-amz-target") != "AWSMPMeteringService.BatchMeterUsage":
            raise Refused("UnknownOperationException")
        if headers.get("content-type") != "application/x-amz-json-1.1":
            raise Refused("SerializationException", "content type")
        if self.signed and not headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
            raise Refused("MissingAuthenticationTokenException")
        if len(request.body) >= 1 << 20:
            raise Refused("ValidationException", "the request is 1 MB or more")
        body = json.loads(request.body)
        records = body.get("UsageRecords")
        if not isinstance(records, list) or len(records) > 25:
            raise Refused("ValidationException", "UsageRecords must have length less than or equal to 25")
        code = body.get("ProductCode")
        keys = [(record, *self._check(record, code)) for record in records]  # all or nothing, before any is taken
        results, left = [], []
        for record, key, quantity in keys:
            if self.unprocessed is not None and self.unprocessed():
                left.append(record)
            else:
                results.append(self._take(record, key, quantity))
        return {"Results": results, "UnprocessedRecords": left}

    def _check(self, record: dict[str, Any], code: str | None) -> tuple[Key, Fraction]:
        if ("Quantity" in record) and ("QuantityAsDecimal" in record):
            raise Refused("ValidationException", "Quantity and QuantityAsDecimal")
        whole, text = record.get("Quantity", 0), record.get("QuantityAsDecimal")
        if text is not None and (not isinstance(text, str) or not text.replace(".", "", 1).isdecimal()):
            raise Refused("ValidationException", "QuantityAsDecimal must be a decimal text that is not negative")
        if text is None and (type(whole) is not int or not 0 <= whole <= LARGEST):
            raise Refused("ValidationException", "Quantity must be a whole number up to 2147483647")
        stamp = record.get("Timestamp")
        if not isinstance(stamp, int | float):
            raise Refused("ValidationException", "Timestamp")
        self._check_time(int(stamp))
        if record.get("Dimension") not in self.dimensions:
            raise Refused("InvalidUsageDimensionException", str(record.get("Dimension")))
        return Key(self._customer(record, code), record["Dimension"], int(stamp) // HOUR_S * HOUR_S), Fraction(text if text is not None else whole)

    def _check_time(self, stamp: int) -> None:
        now = self.clock()
        month = time.gmtime(now)
        begin = calendar.timegm((month.tm_year, month.tm_mon, 1, 0, 0, 0))
        if stamp > now or now - stamp >= self.lateness_s or (stamp < begin and now >= begin + 6 * HOUR_S):
            raise Refused("TimestampOutOfBoundsException", f"{stamp} at {now}")

    def _customer(self, record: dict[str, Any], code: str | None) -> str:
        if "LicenseArn" in record:
            if code is not None:
                raise Refused("ValidationException", "ProductCode and LicenseArn: usage would be billed twice")
            if self.licenses.get(record["LicenseArn"]) != record.get("CustomerAWSAccountId"):
                raise Refused("InvalidLicenseException", record["LicenseArn"])
            return str(record["LicenseArn"])
        if code not in self.products:
            raise Refused("InvalidProductCodeException", str(code))
        customer = record.get("CustomerIdentifier")
        if customer not in self.products[code]:
            raise Refused("InvalidCustomerIdentifierException", str(customer))
        return str(customer)

    def _take(self, record: dict[str, Any], key: Key, quantity: Fraction) -> dict[str, Any]:
        if any(not subscribed.get(key.customer, True) for subscribed in self.products.values()):
            return {"UsageRecord": record, "Status": "CustomerNotSubscribed"}
        before = self.quantity_of(key)
        if before is not None and before != quantity:
            return {"UsageRecord": record, "Status": "DuplicateRecord", "MeteringRecordId": self._ids.get(key, "")}
        if before is None:
            self.billed.append((key, quantity))
            self._ids[key] = str(uuid.uuid5(uuid.NAMESPACE_URL, repr(key)))
        return {"UsageRecord": record, "Status": "Success", "MeteringRecordId": self._ids.get(key, "")}
