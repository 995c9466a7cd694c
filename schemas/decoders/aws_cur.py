"""AWS Cost and Usage Report rows as JSON objects: version 1 (`lineItem/UsageAmount`) and 2.0 (`line_item_usage_amount`).

The sku is pricing/RateCode: AWS gives each price of its list (product, term, tier) one rate code, so one unit price per
(sku, unit) follows. Where it is empty (marketplace rows) product/sku stands in, then product code, usage type and operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import Reason, Rejection
from ..limits import Limits
from ..quantity import ZERO, parse_quantity
from ..times import parse_time
from ..usage_event import UsageEvent, canonical_map
from .documents import Entries, Row, each_document
from .reading import as_object, composed_id, map_text, parse_json, text_of

__all__ = ["decode_aws_cur"]

Headers = Sequence[tuple[str, bytes]]
_TAG_COLUMNS = ("resourceTags/", "resource_tags_")
# The line item types that meter usage (AWS, "Line item details", lineItem/LineItemType); fees, taxes, credits and
# negations are money without a reading behind it.
_USAGE_TYPES = frozenset({"Usage", "DiscountedUsage", "SavingsPlanCoveredUsage"})


def decode_aws_cur(value: bytes | None, headers: Headers, limits: Limits) -> Entries:
    """CUR rows. Raises Rejection for a record that cannot be read."""
    return each_document(value, limits, lambda obj: [_row(Row(obj, limits), limits)])


def _row(row: Row, limits: Limits) -> UsageEvent:
    kind = row.required("lineitem/lineitemtype", "line_item_line_item_type")
    if kind not in _USAGE_TYPES:
        raise Rejection(Reason.NOT_SUPPORTED, f"a {kind[:40]!r} row is money without usage; metered are {', '.join(sorted(_USAGE_TYPES))}")
    if row.optional("splitlineitem/parentresourceid", "split_line_item_parent_resource_id"):
        # Split cost allocation: pods and tasks on an instance. AWS bills the instance, and so do we.
        raise Rejection(Reason.NOT_SUPPORTED, "the row shares out usage of another resource, whose own row is metered")
    product = row.optional("lineitem/productcode", "line_item_product_code")
    usage_type = row.optional("lineitem/usagetype", "line_item_usage_type")
    operation = row.optional("lineitem/operation", "line_item_operation")
    sku = row.optional("pricing/ratecode", "pricing_rate_code") or row.optional("product/sku", "product_sku")
    if not sku:
        if not usage_type:
            raise Rejection(Reason.MISSING_FIELD, "the row has neither pricing/RateCode nor product/sku nor lineItem/UsageType to name its price")
        sku = "/".join(part for part in (product, usage_type, operation) if part)
    amount = row.optional("lineitem/usageamount", "line_item_usage_amount")
    dimensions = {
        "product_code": product,
        "usage_type": usage_type,
        "operation": operation,
        "availability_zone": row.optional("lineitem/availabilityzone", "line_item_availability_zone"),
        "line_item_type": kind,
        "pricing_term": row.optional("pricing/term", "pricing_term"),
    }
    line_item = row.required("identity/lineitemid", "identity_line_item_id")
    interval = row.required("identity/timeinterval", "identity_time_interval")
    payer = row.required("bill/payeraccountid", "bill_payer_account_id")
    return UsageEvent(
        account=text_of(row.required("lineitem/usageaccountid", "line_item_usage_account_id"), "lineItem/UsageAccountId", limits),
        source=text_of(f"aws:cur:{payer}", "bill/PayerAccountId", limits),
        id=composed_id("cur", [line_item, interval]),
        sku=text_of(sku, "the sku", limits),
        time=parse_time(row.required("lineitem/usagestartdate", "line_item_usage_start_date")),
        quantity=parse_quantity(amount, limits.max_quantity_digits) if amount else ZERO,
        unit=text_of(row.required("pricing/unit", "pricing_unit"), "pricing/unit", limits),
        provider="aws",
        region=text_of(row.optional("product/region", "product/regioncode", "product_region_code", "product_region"), "product/region", limits),
        resource=text_of(row.optional("lineitem/resourceid", "line_item_resource_id"), "lineItem/ResourceId", limits),
        dimensions=map_text({k: v for k, v in dimensions.items() if v}, "the dimensions", limits),
        tags=_tags(row, limits),
    )


def _tags(row: Row, limits: Limits) -> str:
    """Version 1 has a column per tag (`resourceTags/user:Name`, in Parquet `resource_tags_user_name`), version 2 one map (`resource_tags`), as JSON
    or its text."""
    found: Any = row.cell("resource_tags")
    if type(found) is str:
        found = parse_json(found.encode("utf-8", "surrogatepass"), limits)
    tags: dict[str, Any] = dict(as_object(found, "resource_tags")) if found is not None else {}
    for column, cell in row.columns.items():
        if column.startswith(_TAG_COLUMNS) and cell not in (None, ""):
            tags[column.removeprefix(_TAG_COLUMNS[0]).removeprefix(_TAG_COLUMNS[1])] = cell
    return map_text(tags, "the tags", limits, controls=True) if tags else canonical_map({})
