"""What line items are grouped and chosen by: the names of dimensions, and what Elasticsearch is asked for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from ..schemas.errors import BadInput

__all__ = ["DIMENSIONS", "INSTANT", "Where", "Within", "check_dimensions", "equals", "filters_of", "source_of"]

# dimension -> its value, or several of which any will do; "": line items that have none
Where = Mapping[str, str | Sequence[str]]
# (start, end) of the time in which charge periods begin, YYYY-MM-DDTHH:MM:SSZ, without the end; None: open on that side
Within = tuple[str | None, str | None]

_PERIOD = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_HOUR = re.compile(_DAY.pattern + r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z")
INSTANT = "yyyy-MM-dd'T'HH:mm:ss'Z'"

# A billing month begins at the midnight of its meter's zone: by the clocks of the earliest zone, all of them begin in that month.
_EARLIEST_ZONE = "+14:00"

# dimension -> (field, calendar interval, format of the key); times are UTC, but for billing months
_TIMES = {
    "day": ("ChargePeriodStart", "day", "yyyy-MM-dd"),
    "hour": ("ChargePeriodStart", "hour", INSTANT),
    "period": ("BillingPeriodStart", "month", "yyyy-MM"),
}
_TERMS = {
    "account": "BillingAccountId",
    "sku": "SkuId",
    "service": "ServiceName",
    "service_category": "ServiceCategory",
    "region": "RegionId",
    "provider": "x_UsageProvider",
    "resource": "ResourceId",
    "meter": "SkuMeter",
    "category": "ChargeCategory",
    "component": "x_Component",
    "price": "x_PriceId",
    "price_version": "x_PriceVersion",
    "model": "x_Model",
    "unit": "PricingUnit",
    "consumed_unit": "ConsumedUnit",
    "currency": "BillingCurrency",
    "adjustment": "x_Adjustment",
    "corrected": "x_CorrectedPeriod",
}
DIMENSIONS = (*_TERMS, *_TIMES)


def check_dimensions(names: Sequence[str]) -> None:
    """Raise BadInput for a name that is none of DIMENSIONS."""
    if unknown := [name for name in names if name not in DIMENSIONS]:
        raise BadInput(f"unknown dimension {', '.join(map(repr, unknown))}; use {', '.join(DIMENSIONS)}")


def source_of(dimension: str) -> dict[str, Any]:
    """Composite source of a dimension; line items without a value form a group too, so nothing falls out of a total."""
    if dimension in _TIMES:
        name, interval, text = _TIMES[dimension]
        calendar = {"calendar_interval": interval, "format": text, "time_zone": _zone(dimension)}
        return {"date_histogram": {"field": name, "missing_bucket": True, **calendar}}
    return {"terms": {"field": _TERMS[dimension], "missing_bucket": True}}


def equals(dimension: str, value: str | None) -> dict[str, Any]:
    """Filter for one value of a dimension, as a composite key gives it."""
    name = _TIMES[dimension][0] if dimension in _TIMES else _TERMS[dimension]
    if value is None:
        return {"bool": {"must_not": [{"exists": {"field": name}}]}}
    if dimension in _TIMES:
        _, interval, text = _TIMES[dimension]
        past = f"{value}||+1{interval[0].replace('m', 'M')}"  # counted by the clocks of the zone
        return {"range": {name: {"gte": value, "lt": past, "format": text, "time_zone": _zone(dimension)}}}
    return {"term": {name: value}}


def _zone(dimension: str) -> str:
    return _EARLIEST_ZONE if dimension == "period" else "UTC"


def filters_of(account: str | None, period: str | None, where: Where | None = None, within: Within = (None, None)) -> list[dict[str, Any]]:
    """Elasticsearch filters for an account, a billing month, values of DIMENSIONS and a time; None: any.

    Raises BadInput for a name that is no dimension, a time that is none, and an end that is not after its start.
    """
    filters: list[dict[str, Any]] = []
    if account is not None:
        filters.append({"term": {"BillingAccountId": account}})
    if period is not None:
        filters.append(equals("period", _month(period)))
    check_dimensions(list(where or {}))
    for name, given in (where or {}).items():
        values = [given] if isinstance(given, str) else given
        if name in _TIMES:
            for value in values:
                _month(value) if name == "period" else _instant(name, value)
        filters.append({"bool": {"should": [equals(name, value or None) for value in values], "minimum_should_match": 1}})
    return [*filters, *_between(*within)]


def _between(start: str | None, end: str | None) -> list[dict[str, Any]]:
    bounds = {name: _instant("hour", value) for name, value in (("gte", start), ("lt", end)) if value is not None}
    if start is not None and end is not None and start >= end:
        raise BadInput(f"the end {end} is not after the start {start}; an end is the first instant that is left out")
    return [{"range": {"ChargePeriodStart": {**bounds, "format": INSTANT}}}] if bounds else []


def _month(period: str) -> str:
    if not _PERIOD.fullmatch(period):
        raise BadInput(f"period {period[:40]!r} is not a billing period like 2026-01")
    return period


def _instant(dimension: str, value: str) -> str:
    form, example = (_DAY, "2026-01-31") if dimension == "day" else (_HOUR, "2026-01-31T14:00:00Z")
    try:
        if not form.fullmatch(value):
            raise ValueError
        date.fromisoformat(value[:10])
    except ValueError:
        raise BadInput(f"{dimension} {value[:40]!r} is not one like {example}") from None
    return value
