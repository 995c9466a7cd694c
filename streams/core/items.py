"""Line items made from rated usage: the last pure step, and the only place that knows how a line item is identified."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from ...pricing.money import plain
from ...pricing.price import Component, Price
from ...schemas.line_item import RatedLineItem
from .periods import month_of, month_start, text

__all__ = ["GroupKey", "Names", "entry_key", "group_prefix", "period_item", "split_entry_key", "window_item", "withdraw"]


class GroupKey(NamedTuple):
    """What tiers accumulate over: one account's usage of one SKU in one unit in one calendar month (UTC)."""

    account: str
    sku: str
    unit: str
    month: int


class Names(NamedTuple):
    """Who sells and who issues the invoice: the same for every line item of a price book."""

    currency: str
    provider: str
    publisher: str
    invoice_issuer: str


def group_prefix(group: GroupKey) -> bytes:
    """Bytes that sort a group's entries together. NUL separates: decoders refuse control characters in all three texts."""
    return f"{group.account}\0{group.sku}\0{group.unit}\0".encode() + group.month.to_bytes(4, "big")


def entry_key(start: int, region: str, resource: str, dimensions: str) -> bytes:
    """Key of a window's usage within its group; sorts by window start (seconds), then by what tells line items apart."""
    if region or resource or dimensions:
        return start.to_bytes(8, "big") + f"{region}\0{resource}\0{dimensions}".encode()
    return start.to_bytes(8, "big")


@lru_cache(maxsize=65_536)
def _suffix_parts(suffix: bytes) -> tuple[str, str, str]:
    if not suffix:
        return "", "", ""
    region, resource, dimensions = suffix.decode().split("\0")
    return region, resource, dimensions


def split_entry_key(key: bytes) -> tuple[int, str, str, str]:
    """Inverse of `entry_key`: (window start in seconds, region, resource, dimensions)."""
    return int.from_bytes(key[:8], "big"), *_suffix_parts(key[8:])


def _line_item_id(prefix: bytes, key: bytes, component: str) -> str:
    # blake2b, not a fast hash: customers choose some of these bytes, and two line items must never share an id.
    return blake2b(b"%b\0%b\0%b" % (prefix, key, component.encode()), digest_size=16).hexdigest()


def window_item(
    names: Names, group: GroupKey, prefix: bytes, key: bytes, price: Price | None, tier_index: int, quantity: Decimal, usage_provider: str, window_s: int
) -> RatedLineItem:
    """One window's usage in one tier. Without a price: the same line item, marked unpriced, at no cost yet.

    x_revision is 0; the caller sets it when the line item is really written.
    """
    start, region, resource, dimensions = split_entry_key(key)
    component = f"tier-{tier_index + 1}"
    amount = plain(quantity)
    if price is None:
        return RatedLineItem(
            _line_item_id(prefix, key, component), 0, group.account, names.currency,
            text(month_start(group.month)), text(month_start(group.month + 1)), text(start), text(start + window_s), group.sku,
            "0", "0", "0", "0", "Usage", None, f"{group.sku}: no price for unit {group.unit}", amount, group.unit,
            group.sku, "Other", names.provider, names.publisher, names.invoice_issuer,
            None, None, None, amount, group.unit, "Standard", "Usage-Based", None, None, region or None, resource or None,
            component, "", "", "", usage_provider, dimensions, True,
        )  # fmt: skip
    tier = price.tiers[tier_index]
    unit_price = plain(tier.unit_price)
    cost = plain(quantity * tier.unit_price)
    return RatedLineItem(
        _line_item_id(prefix, key, component), 0, group.account, price.currency,
        text(month_start(group.month)), text(month_start(group.month + 1)), text(start), text(start + window_s), group.sku,
        cost, cost, cost, cost, "Usage", None, price.description or group.sku, amount, price.unit,
        price.service_name or group.sku, price.service_category or "Other", names.provider, names.publisher, names.invoice_issuer,
        None, unit_price, unit_price, amount, group.unit, "Standard", "Usage-Based", tier.sku_price_id, None, region or None, resource or None,
        component, price.id, price.version, price.model, usage_provider, dimensions,
    )  # fmt: skip


def period_item(names: Names, group: GroupKey, prefix: bytes, price: Price, start: int, end: int, component: Component) -> RatedLineItem:
    """One charge of a whole accumulation period (flat fee, volume, package, minimum, rounding, …); x_revision is 0."""
    key = start.to_bytes(8, "big") + price.id.encode()
    cost, unit_price, quantity = plain(component.cost), plain(component.unit_price), plain(component.quantity)
    consumed = None if component.consumed_quantity is None else plain(component.consumed_quantity)
    month = month_of(start)
    return RatedLineItem(
        _line_item_id(prefix, key, component.key), 0, group.account, price.currency,
        text(month_start(month)), text(month_start(month + 1)), text(start), text(end), group.sku,
        cost, cost, cost, cost, component.category, None, component.description or price.description or group.sku,
        quantity, price.unit if consumed is not None and price.model == "volume" else ("package" if component.key == "package" else "charge"),
        price.service_name or group.sku, price.service_category or "Other", names.provider, names.publisher, names.invoice_issuer,
        None, unit_price, unit_price, consumed, None if consumed is None else group.unit,
        "Standard", "Usage-Based", component.sku_price_id, None, None, None, component.key, price.id, price.version, price.model,
    )  # fmt: skip


def withdraw(item: RatedLineItem) -> RatedLineItem:
    """The line item that stands for nothing: restating left it empty, so all its quantities and costs are zero."""
    item.billed_cost = item.effective_cost = item.list_cost = item.contracted_cost = "0"
    item.pricing_quantity = "0"
    if item.consumed_quantity is not None:
        item.consumed_quantity = "0"
    item.x_unpriced = False
    item.x_withdrawn = True
    return item
