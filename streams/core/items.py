"""Line items made from rated usage: the last pure step, and the only place that knows how a line item is identified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from msgspec.structs import replace

from ...metering.calendar import Calendar
from ...pricing.money import ZERO, plain
from ...pricing.price import Component, Price
from ...pricing.statement import Charge
from ...schemas.line_item import RatedLineItem, encode_json, encode_line_item
from ...schemas.usage_event import hot
from .periods import text

__all__ = [
    "Form",
    "GroupKey",
    "Names",
    "WindowWriter",
    "changes_between",
    "derived_id",
    "entry_key",
    "group_prefix",
    "period_item",
    "split_entry_key",
    "statement_item",
    "window_item",
    "withdraw",
]


class GroupKey(NamedTuple):
    """What tiers accumulate over: one account's usage of one SKU in one unit in one calendar month of the meter's zone (UTC by default)."""

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
    account, sku, unit, month = group
    return f"{account}\0{sku}\0{unit}\0".encode() + month.to_bytes(4, "big")


@lru_cache(maxsize=262_144)
def entry_key(start: int, region: str, resource: str, dimensions: str) -> bytes:
    """Key of a window's usage within its group; sorts by window start (seconds), then by what tells line items apart."""
    if region or resource or dimensions:
        return start.to_bytes(8, "big") + f"{region}\0{resource}\0{dimensions}".encode()
    return start.to_bytes(8, "big")


@lru_cache(maxsize=262_144)
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


def derived_id(line_item_id: str, kind: str, month: int) -> str:
    """Id of a line item that follows from another one, such as its correction in a later month."""
    return blake2b(b"\x02%b\0%b\0%b" % (line_item_id.encode(), kind.encode(), month.to_bytes(4, "big")), digest_size=16).hexdigest()


def window_item(
    names: Names, calendar: Calendar, group: GroupKey, prefix: bytes, key: bytes, price: Price | None, tier_index: int, quantity: Decimal,
    usage_provider: str, own_price: Decimal | None = None,
) -> RatedLineItem:  # fmt: skip
    """One window's usage in one tier. Without a price: the same line item, marked unpriced, at no cost yet.

    own_price: the unit price where the entry has one of its own (dynamic prices). x_revision is 0; the caller sets it when the
    line item is really written.
    """
    start, region, resource, dimensions = split_entry_key(key)
    since, until = text(calendar.month_start(group.month)), text(calendar.month_start(group.month + 1))
    begin, end = text(start), text(calendar.end(start))
    component = f"tier-{tier_index + 1}"
    amount = plain(quantity)
    if price is None:
        return RatedLineItem(
            _line_item_id(prefix, key, component), 0, group.account, names.currency, since, until, begin, end, group.sku,
            "0", "0", "0", "0", "Usage", None, f"{group.sku}: no price for unit {group.unit}", amount, group.unit,
            group.sku, "Other", names.provider, names.publisher, names.invoice_issuer,
            None, None, None, amount, group.unit, "Standard", "Usage-Based", None, None, region or None, resource or None,
            component, "", "", "", usage_provider, dimensions, x_unpriced=True,
        )  # fmt: skip
    tier = price.tiers[tier_index]
    unit_price = tier.unit_price if own_price is None else own_price
    shown, cost = plain(unit_price), plain(quantity * unit_price)
    return RatedLineItem(
        _line_item_id(prefix, key, component), 0, group.account, price.currency, since, until, begin, end, group.sku,
        cost, cost, cost, cost, "Usage", None, price.description or group.sku, amount, price.unit,
        price.service_name or group.sku, price.service_category or "Other", names.provider, names.publisher, names.invoice_issuer,
        None, shown, shown, amount, group.unit, "Standard", "Usage-Based", tier.sku_price_id, None, region or None, resource or None,
        component, price.id, price.version, price.model, usage_provider, dimensions,
        x_pricing_currency=price.pricing_currency, x_exchange_rate=_rate(price),
    )  # fmt: skip


def _rate(price: Price) -> str:
    return plain(price.exchange_rate) if price.pricing_currency else ""


def period_item(
    names: Names, calendar: Calendar, group: GroupKey, prefix: bytes, price: Price, start: int, end: int, component: Component
) -> RatedLineItem:
    """One charge of a whole accumulation period (flat fee, volume, package, minimum, rounding, …); x_revision is 0."""
    key = start.to_bytes(8, "big") + price.id.encode()
    cost, unit_price, quantity = plain(component.cost), plain(component.unit_price), plain(component.quantity)
    consumed = None if component.consumed_quantity is None else plain(component.consumed_quantity)
    usage = component.category == "Usage"
    return RatedLineItem(
        _line_item_id(prefix, key, component.key), 0, group.account, price.currency,
        text(calendar.month_start(group.month)), text(calendar.month_start(group.month + 1)), text(start), text(end), group.sku,
        cost, cost, cost, cost, component.category, None, component.description or price.description or group.sku,
        quantity, price.unit if consumed is not None and price.model == "volume" else ("package" if component.key == "package" else "charge"),
        price.service_name or group.sku, price.service_category or "Other", names.provider, names.publisher, names.invoice_issuer,
        None, unit_price, unit_price, consumed, None if consumed is None else group.unit,
        "Standard" if usage else None, "Usage-Based" if usage else "Recurring", component.sku_price_id or None, None, None, None,
        component.key, price.id, price.version, price.model,
        x_pricing_currency=price.pricing_currency, x_exchange_rate=_rate(price),
    )  # fmt: skip


def statement_item(names: Names, account: str, service: tuple[str, str], month: int, start: int, end: int, charge: Charge) -> RatedLineItem:
    """A charge of the account's month as a whole, such as a credit or an uplift. start, end: of the billing month; x_revision is 0.

    service: name and category, as for the usage of the charge's SKU (`Rates.service_of`).
    """
    subject = b"%b\0%b" % (account.encode(), month.to_bytes(4, "big"))
    identity = blake2b(b"\x01statement\0%b\0%b\0%b" % (subject, charge.adjustment.encode(), charge.key.encode()), digest_size=16).hexdigest()
    cost, unit_price = plain(charge.cost), plain(charge.unit_price)
    return RatedLineItem(
        identity, 0, account, names.currency, text(start), text(end), text(charge.start), text(charge.end), charge.sku or charge.adjustment,
        cost, cost, cost, cost, charge.category, None, charge.description, plain(charge.quantity), charge.unit,
        service[0] or charge.adjustment, service[1], names.provider, names.publisher, names.invoice_issuer,
        None, unit_price, unit_price, None, None, None, "Recurring" if charge.recurring else "Usage-Based",
        x_component=charge.key, x_adjustment=charge.adjustment,
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


def changes_between(old: Mapping[str, RatedLineItem], new: Mapping[str, RatedLineItem]) -> list[RatedLineItem]:
    """Line items that lead from one state to another: the changed and the new ones, and those that are no more, withdrawn.

    Copies: whoever writes them gives them a revision, which is no part of what they say.
    """
    changed = [replace(item) for key, item in new.items() if old.get(key) != item]
    return changed + [withdraw(replace(item)) for key, item in old.items() if key not in new]


Form = tuple[bytes, Decimal, bytes]  # line item with gaps, unit price, component
Shape = tuple[int, str, str, bool, bool, bool, bool]  # window start, sku, unit; which optional texts there are


class WindowWriter:
    """Window line items straight to their wire form: the same bytes as encoding `window_item`, at a fraction of the cost.

    Among line items of one price, tier and window only a handful of fields differ. A template is made by encoding one real
    `window_item` with marks in these fields; filling it in is one formatting operation. So there is still one place that
    knows what a line item holds (a test compares the two byte by byte).
    """

    _KEPT = 50_000  # templates; then start over: windows pass
    # Texts that no real field can hold (decoders refuse control characters).
    _TEXTS = ("\x01region", "\x01resource", "\x01provider", "\x01dimensions")

    def __init__(self, names: Names, calendar_of: Callable[[str, str], Calendar]) -> None:
        self._names = names
        self._calendar_of = calendar_of  # (sku, unit) -> calendar
        self.revision = 0
        self._templates: dict[tuple[str, int, Shape], Form] = {}
        self._forms: dict[tuple[str, int], dict[tuple[bytes, str, str, str], Form]] = {}
        self._count = 0

    def at(self, revision: int) -> WindowWriter:
        """This writer, for the commit that has this revision."""
        self.revision = revision
        return self

    def forms(self, price: Price | None, tier_index: int) -> dict[tuple[bytes, str, str, str], Form]:
        """Known forms of a price's tier: (entry key, provider, sku, unit) -> form; `form` adds one."""
        key = ("" if price is None else price.version, tier_index)
        found = self._forms.get(key)
        if found is None:
            found = self._forms[key] = {}
        return found

    def form(self, group: GroupKey, key: bytes, price: Price | None, tier_index: int, provider: str) -> Form:
        """The line item of an entry with gaps for: id, revision, account, four costs, two quantities. Remembered."""
        if self._count > self._KEPT:
            # Here, not once a commit: resources may make every form of a large commit a new one.
            self._templates.clear()
            self._forms.clear()
            self._count = 0
        start, region, resource, dimensions = split_entry_key(key)
        shape = (start, group.sku, group.unit, region != "", resource != "", provider != "", dimensions != "")
        name = ("" if price is None else price.version, tier_index, shape)
        template = self._templates.get(name)
        if template is None:
            template = self._templates[name] = self._template(group, key, price, tier_index, shape)
            self._count += 1
        text, unit_price, component = template
        form = text % tuple([encode_json(t).replace(b"%", b"%%") for t in (region, resource, provider, dimensions) if t]), unit_price, component
        self.forms(price, tier_index)[key, provider, group.sku, group.unit] = form
        self._count += 1
        return form

    def write(
        self, group: GroupKey, prefix: bytes, key: bytes, price: Price | None, tier_index: int, quantity: Decimal, usage_provider: str
    ) -> tuple[bytes, bytes]:
        """(x_LineItemId, JSON) of a window's usage in one tier."""
        form = self.forms(price, tier_index).get((key, usage_provider, group.sku, group.unit))
        if form is None:
            form = self.form(group, key, price, tier_index, usage_provider)
        if hot is not None:
            written: tuple[bytes, bytes] = hot.write_entry(form, prefix, key, encode_json(group.account), price is not None, quantity, self.revision)
            return written
        text, unit_price, component = form
        identity = blake2b(b"%b\0%b\0%b" % (prefix, key, component), digest_size=16).hexdigest().encode()
        cost = b"0" if price is None else plain(quantity * unit_price).encode()
        number = plain(quantity).encode()
        return identity, text % (identity, self.revision, encode_json(group.account), cost, cost, cost, cost, number, number)

    def _template(self, group: GroupKey, key: bytes, price: Price | None, tier_index: int, shape: Shape) -> Form:
        """Encoded line item; gaps of the entry's own texts are `%b`, those of `write` are `%%b`, all other `%` doubled twice."""
        with_region, with_resource, with_provider, with_dimensions = shape[3:]
        region, resource, provider, dimensions = self._TEXTS
        calendar = self._calendar_of(group.sku, group.unit)
        item = window_item(self._names, calendar, group, b"", key, price, tier_index, ZERO, provider if with_provider else "")
        item.x_line_item_id, item.x_revision, item.billing_account_id = "\x01id", _REVISION_MARK, "\x01account"
        item.region_id = region if with_region else None
        item.resource_id = resource if with_resource else None
        item.x_dimensions = dimensions if with_dimensions else ""
        item.billed_cost = item.effective_cost = item.list_cost = item.contracted_cost = "\x01number"
        item.pricing_quantity = item.consumed_quantity = "\x01number"
        text = encode_line_item(item).replace(b"%", b"%%%%")
        for mark in self._TEXTS:
            text = text.replace(encode_json(mark), b"%b")
        for mark, gap in (("\x01id", b'"%%b"'), ("\x01account", b"%%b"), ("\x01number", b'"%%b"')):
            text = text.replace(encode_json(mark), gap)
        text = text.replace(b"%d" % _REVISION_MARK, b"%%d", 1)
        unit_price = ZERO if price is None else price.tiers[tier_index].unit_price
        return text, unit_price, item.x_component.encode()


_REVISION_MARK = 9_007_199_254_740_881  # a number that no revision reaches and no other field holds
