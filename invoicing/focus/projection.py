"""One line item as one FOCUS row. Pure; amounts stay the decimal strings that they are."""

from __future__ import annotations

import msgspec

from ...schemas.line_item import RatedLineItem
from .columns import columns_of
from .units import spelled

__all__ = ["Row", "row_of"]

Row = dict[str, str | None]  # column -> text, null for what there is nothing to say of

# Whose infrastructure the usage was read from, in the names of its owners.
_HOSTS = {"aws": "Amazon Web Services", "azure": "Microsoft Azure", "gcp": "Google Cloud"}


def row_of(item: RatedLineItem, version: str) -> Row:
    """The row of a line item in a version of FOCUS, every column in order.

    Four things are said differently than in the line item, because FOCUS wants so: units have their times spelled out; a charge without a
    SkuPriceId of its own is known by what made it; only usage has a consumed quantity; what has no name of its own (a resource, a region,
    the meter of a SKU) is named by its id.
    """
    fields = msgspec.to_builtins(item)
    usage = item.charge_category == "Usage"
    said: Row = {
        **{name: value or None for name, value in fields.items() if isinstance(value, str)},
        "ConsumedQuantity": item.consumed_quantity if usage else None,
        "ConsumedUnit": spelled(item.consumed_unit) if usage and item.consumed_unit else None,
        "PricingUnit": spelled(item.pricing_unit) if item.pricing_unit else None,
        "SkuMeter": item.sku_meter or item.sku_id,
        "SkuPriceId": _price_of(item),
        "RegionName": item.region_id,
        "ResourceName": item.resource_id,
        "ServiceSubcategory": f"Other ({item.service_category})",
        "ServiceProviderName": item.provider_name,
        "HostProviderName": _HOSTS.get(item.x_usage_provider, item.provider_name),
    }
    return {name: said.get(name) for name in columns_of(version)}


def _price_of(item: RatedLineItem) -> str | None:
    """Stable over time, and one for each tier: that of the price, or what else the charge comes from."""
    if item.sku_price_id or item.x_unpriced:
        return item.sku_price_id
    return f"{item.x_adjustment or item.x_price_id}/{item.x_component}"
