"""Azure Marketplace metered billing, api-version 2018-08-31, from its published description: batchUsageEvent, and usageEvents to look back."""

from __future__ import annotations

import json
import re
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ratemill.sinks.marketplace.http import Answer, Request

from .fake import HOUR_S, Fake, Key, answer

DAY_S = 86_400


@dataclass
class FakeAzure(Fake):
    """plans: resource id -> plan. inactive: resources that ended. tokens: those that are let in; empty: none is asked for.
    processed_s: so long after a day its events are processed.
    """

    plans: dict[str, str] = field(default_factory=dict)
    dimensions: frozenset[str] = frozenset()
    inactive: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()
    processed_s: int = DAY_S

    def judge(self, request: Request) -> Answer:
        parts = urlsplit(request.url)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if self.tokens and headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return answer(401)
        query = parse_qs(parts.query)
        if query.get("api-version") != ["2018-08-31"]:
            return answer(400, {"code": "BadArgument", "message": "api-version"})
        if request.method == "GET" and parts.path == "/api/usageEvents":
            return answer(200, self._look_back(query["usageStartDate"][0]))
        if request.method != "POST" or parts.path != "/api/batchUsageEvent" or headers.get("content-type") != "application/json":
            return answer(404)
        events = json.loads(request.body).get("request")
        if not isinstance(events, list) or len(events) > 25:
            return answer(400, {"code": "BadArgument", "message": "the batch has more than 25 events"})
        results = [self._event(event) for event in events]
        return answer(200, {"count": len(results), "result": results})

    def _event(self, event: dict[str, Any]) -> dict[str, Any]:
        said = {**event, "messageTime": "2026-11-03T00:00:00Z"}
        stamp, now = str(event.get("effectiveStartTime")), self.clock()
        quantity = event.get("quantity")
        status = ""
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?", stamp):
            status = "BadArgument"
        elif event.get("resourceId") not in self.plans:
            status = "ResourceNotFound"
        elif event["resourceId"] in self.inactive:
            status = "ResourceNotActive"
        elif event.get("planId") != self.plans[event["resourceId"]]:
            status = "BadArgument"
        elif event.get("dimension") not in self.dimensions:
            status = "InvalidDimension"
        elif type(quantity) not in (int, float) or quantity <= 0:
            status = "InvalidQuantity"
        if status:
            return {**said, "status": status, "error": {"code": status, "message": f"{status} of the event"}}
        moment = int(datetime.fromisoformat(stamp.removesuffix("Z")).replace(tzinfo=UTC).timestamp())
        if moment > now:
            return {**said, "status": "BadArgument", "error": {"code": "BadArgument", "message": "in the future"}}
        key = Key(event["resourceId"], event["dimension"], moment // HOUR_S * HOUR_S)
        before = self.quantity_of(key)
        if before is not None:
            accepted = {**event, "quantity": float(before), "status": "Duplicate", "usageEventId": str(uuid.uuid5(uuid.NAMESPACE_URL, repr(key)))}
            info = {"additionalInfo": {"acceptedMessage": accepted}, "message": "This usage event already exist.", "code": "Conflict"}
            return {**said, "status": "Duplicate", "messageTime": "0001-01-01T00:00:00", "error": info}
        if now - moment > DAY_S:
            return {**said, "status": "Expired", "error": {"code": "Expired", "message": "older than 24 hours"}}
        self.billed.append((key, Fraction(quantity)))
        return {**said, "status": "Accepted", "usageEventId": str(uuid.uuid5(uuid.NAMESPACE_URL, repr(key)))}

    def _look_back(self, start: str) -> list[dict[str, Any]]:
        """What was submitted and processed, by day."""
        days: dict[tuple[str, str, str], Fraction] = {}
        for key, quantity in self.billed:
            day = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(key.hour))
            if day >= start[:10]:
                days[day, key.customer, key.dimension] = days.get((day, key.customer, key.dimension), Fraction(0)) + quantity
        return [
            {
                "usageDate": day, "usageResourceId": customer, "dimension": dimension, "planId": self.plans.get(customer, ""),
                "submittedQuantity": float(quantity), **self._processed(day, float(quantity)),
            }
            for (day, customer, dimension), quantity in sorted(days.items())
        ]  # fmt: skip

    def _processed(self, day: str, quantity: float) -> dict[str, Any]:
        ended = datetime.fromisoformat(day).timestamp() + DAY_S
        if self.clock() < ended + self.processed_s:
            return {"reconStatus": "Submitted", "processedQuantity": 0.0}
        return {"reconStatus": "Accepted", "processedQuantity": quantity}
