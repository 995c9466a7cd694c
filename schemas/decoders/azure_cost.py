"""Azure cost export rows as JSON objects (actual or amortized; EA and MCA column names, in any case).

Quantity is ALREADY in blocks of UnitOfMeasure (4 operations are 0.0004 of "10K"): the unit stays that text.
The row has no id: docs/inputs.md lists the fields that stand for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..errors import Reason, Rejection
from ..limits import Limits
from ..quantity import parse_quantity
from ..times import format_time, parse_us_date
from ..usage_event import UsageEvent, canonical_map
from .documents import Entries, Row, each_document
from .reading import canonical_json, map_text, parse_json, text_of
from .rows import row_id

__all__ = ["decode_azure_cost", "identity_parts"]

Headers = Sequence[tuple[str, bytes]]
_DATE = ("date", "usagedatetime", "usagedate")
_SUBSCRIPTION = ("subscriptionid", "subscriptionguid")
_RESOURCE = ("resourceid", "instanceid", "instancename")
_LOCATION = ("resourcelocation", "meterregion")
# Fields of the identity beside account, date, meter and resource: what a later export of the same usage repeats.
# Not among them: quantities, prices, costs, and what people edit later (tags, names, cost centres, invoice sections).
_IDENTITY = (
    ("partnumber",),
    ("productid",),
    ("chargetype",),
    ("frequency",),
    ("pricingmodel",),
    ("publishertype",),
    ("offerid",),
    ("term",),
    ("reservationid",),
    ("benefitid",),
    ("productorderid",),
    ("costallocationrulename",),
    ("availabilityzone",),
    ("consumedservice",),
    ("serviceinfo1",),
    ("serviceinfo2",),
)
# AdditionalInfo tells instances of one resource apart (VMName), but it repeats an amount too.
_AMOUNTS = frozenset({"consumedquantity", "quantity", "cost"})


def decode_azure_cost(value: bytes | None, headers: Headers, limits: Limits) -> Entries:
    """Cost export rows. Raises Rejection for a record that cannot be read."""
    return each_document(value, limits, lambda obj: [_row(Row(obj, limits), limits)])


def identity_parts(row: Row) -> list[Any]:
    """What identifies a row, beside its occurrence in the file. Raises Rejection."""
    return [
        row.optional("billingaccountid"),
        row.optional(*_SUBSCRIPTION).lower(),
        format_time(parse_us_date(row.required(*_DATE))),
        row.optional("meterid").lower(),
        row.optional(*_RESOURCE).lower(),  # Azure resource ids ignore case, and exports differ in it
        row.optional(*_LOCATION).lower(),
        *(row.optional(*names) for names in _IDENTITY),
        _additional_info(row),
    ]


def _row(row: Row, limits: Limits) -> UsageEvent:
    kind = row.required("chargetype")
    if kind.lower() != "usage":
        raise Rejection(Reason.NOT_SUPPORTED, f"a {kind[:40]!r} row is money without usage; rows of ChargeType Usage are metered")
    billing_account = row.required("billingaccountid")
    meter = row.required("meterid").lower()
    part = row.optional("partnumber")
    model = row.optional("pricingmodel")
    # One unit price per (sku, unit): a meter is priced per part number, and otherwise under a reservation or as spot.
    sku = "/".join(p for p in (meter, part, "" if model.lower() == "ondemand" else model) if p)
    dimensions = {
        "meter_id": meter,
        "part_number": part,
        "pricing_model": model,
        "meter_category": row.optional("metercategory"),
        "meter_name": row.optional("metername"),
        "resource_group": row.optional("resourcegroup", "resourcegroupname").lower(),
    }
    return UsageEvent(
        account=text_of(row.optional(*_SUBSCRIPTION).lower() or billing_account, "SubscriptionId", limits),
        source=text_of(f"azure:cost:{billing_account}", "BillingAccountId", limits),
        id=row_id("azure-cost", identity_parts(row), row),
        sku=text_of(sku, "the sku", limits),
        time=parse_us_date(row.required(*_DATE)),
        quantity=parse_quantity(row.required("quantity", "usagequantity"), limits.max_quantity_digits),
        unit=text_of(row.required("unitofmeasure"), "UnitOfMeasure", limits),
        provider="azure",
        region=text_of(row.optional(*_LOCATION).lower(), "ResourceLocation", limits),
        resource=text_of(row.optional(*_RESOURCE).lower(), "ResourceId", limits),
        dimensions=map_text({k: v for k, v in dimensions.items() if v}, "the dimensions", limits),
        tags=_tags(row),
    )


def _tags(row: Row) -> str:
    """EA writes the members of an object without its braces. A text that is neither is kept whole under `Tags`: no tag stops usage."""
    cell = row.cell("tags")
    if cell is None:
        return canonical_map({})
    if isinstance(cell, dict):
        return map_text(cell, "Tags", row.limits, controls=True)
    text = row.optional("tags", long=True)
    for candidate in (text, "{" + text + "}"):
        try:
            return map_text(parse_json(candidate.encode("utf-8", "surrogatepass"), row.limits), "Tags", row.limits, controls=True)
        except Rejection:
            continue
    return map_text({"Tags": re.sub("[\ud800-\udfff]", "?", text[: row.limits.max_text_chars])}, "Tags", row.limits, controls=True)


def _additional_info(row: Row) -> str:
    text = row.optional("additionalinfo", "additionalinformation", long=True) if not isinstance(row.cell("additionalinfo"), dict) else ""
    found: Any = row.cell("additionalinfo")
    if text:
        try:
            found = parse_json(text.encode("utf-8", "surrogatepass"), row.limits)
        except Rejection:
            return text
    if not isinstance(found, dict):
        return text
    return canonical_json({key: value for key, value in found.items() if key.lower() not in _AMOUNTS})
