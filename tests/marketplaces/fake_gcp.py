"""Google Service Control, v1, as far as Google Cloud Marketplace uses it: services.report with partial failures."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

from ratemill.sinks.marketplace.http import Answer, Request

from .fake import HOUR_S, Fake, Key, answer

LATENESS_S = HOUR_S


@dataclass
class FakeGcp(Fake):
    """consumers: usage reporting id -> whether it is active. Operations are known by their ids for ever; usage is due an hour after its end."""

    service: str = ""
    consumers: dict[str, bool] = field(default_factory=dict)
    metrics: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()
    _seen: set[str] = field(default_factory=set)

    def judge(self, request: Request) -> Answer:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if self.tokens and headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return _error(401, "UNAUTHENTICATED", "no access token")
        if request.method != "POST" or urlsplit(request.url).path != f"/v1/services/{self.service}:report":
            return _error(404, "NOT_FOUND", "no such service")
        if len(request.body) > 1 << 20:
            return _error(400, "INVALID_ARGUMENT", "the request is larger than 1 MB")
        operations = json.loads(request.body).get("operations")
        if not isinstance(operations, list):
            return _error(400, "INVALID_ARGUMENT", "operations")
        for operation in operations:  # what has not the form of an operation refuses the whole request
            if malformed := _malformed(operation):
                return _error(400, "INVALID_ARGUMENT", malformed)
        errors = [{"operationId": each["operationId"], "status": said} for each in operations if (said := self._operation(each))]
        return answer(200, {"serviceConfigId": "2026-11-01r0", **({"reportErrors": errors} if errors else {})})

    def _operation(self, operation: dict[str, Any]) -> dict[str, Any] | None:
        consumer = operation["consumerId"]
        if not self.consumers.get(consumer):
            return {"code": 5, "message": f"Consumer '{consumer}' not found or not active."}
        (values,) = operation["metricValueSets"]
        name = values["metricName"].removeprefix(f"{self.service}/")
        if name not in self.metrics:
            return {"code": 3, "message": f"unknown metric {name}"}
        end = _seconds(operation["endTime"])
        if operation["operationId"] in self._seen:
            return None
        if self.clock() - end > LATENESS_S:
            return {"code": 3, "message": "endTime is too far in the past"}
        if end > self.clock():
            return {"code": 3, "message": "endTime is in the future"}
        self._seen.add(operation["operationId"])
        key = Key(consumer, name, _seconds(operation["startTime"]) // HOUR_S * HOUR_S)
        self.billed.append((key, Fraction(values["metricValues"][0]["int64Value"])))
        return None


def _malformed(operation: Any) -> str:
    try:
        start, end = _seconds(operation["startTime"]), _seconds(operation["endTime"])
        (values,) = operation["metricValueSets"]
        (value,) = values["metricValues"]
        number = value["int64Value"]
        if not (operation["operationId"] and operation["consumerId"] and operation["operationName"] and values["metricName"]):
            return "a field is empty"
    except (KeyError, ValueError, TypeError) as error:
        return f"operation: {error!r}"
    if start >= end:
        return "startTime must be before endTime"
    if not isinstance(number, str) or not number.isdecimal() or int(number) >= 2**63:
        return "int64Value must be a text of digits"
    return ""


def _seconds(text: str) -> int:
    if not text.endswith("Z"):
        raise ValueError(text)
    return int(datetime.fromisoformat(text).timestamp())


def _error(status: int, name: str, message: str) -> Answer:
    return answer(status, {"error": {"code": status, "status": name, "message": message}})
