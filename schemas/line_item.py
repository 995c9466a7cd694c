"""The rated line item, in the words of FOCUS 1.2.

One line item is one price component: PricingQuantity x ListUnitPrice = ListCost, exactly. Field names on the wire are
FOCUS column names; what FOCUS has no column for starts with `x_`. Costs, prices and quantities are decimal strings in
plain notation (never an exponent). Column source: FOCUS specification 1.2, CC BY 4.0.
"""

from __future__ import annotations

import msgspec

__all__ = ["PROVENANCE_FIELDS", "RatedLineItem", "decode_line_item", "encode_json", "encode_line_item"]

# Fields that tell how a line item came about, not what it says. They depend on arrival order and are left out when the
# live pipeline is compared with `ratemill rate`. A line item with x_Withdrawn is left out of that comparison as a whole.
PROVENANCE_FIELDS = frozenset({"x_Revision", "x_Withdrawn", "x_Cause"})


class RatedLineItem(msgspec.Struct, gc=False, omit_defaults=True, rename="pascal"):
    """One price component of one account's usage.

    x_revision only grows for one x_line_item_id; the highest counts. x_withdrawn marks a line item that restating left
    empty (a tier boundary moved away): all its costs and quantities are "0".
    Times are `YYYY-MM-DDTHH:MM:SSZ`; starts are inclusive, ends exclusive.
    """

    x_line_item_id: str = msgspec.field(name="x_LineItemId")
    x_revision: int = msgspec.field(name="x_Revision")
    billing_account_id: str
    billing_currency: str
    billing_period_start: str
    billing_period_end: str
    charge_period_start: str
    charge_period_end: str
    sku_id: str
    billed_cost: str
    effective_cost: str
    list_cost: str
    contracted_cost: str
    charge_category: str  # Usage | Purchase | Adjustment | Credit
    # Mandatory and nullable in FOCUS: always present, null when there is nothing to say.
    charge_class: str | None
    charge_description: str | None
    pricing_quantity: str | None
    pricing_unit: str | None
    service_name: str
    service_category: str
    provider_name: str
    publisher_name: str
    invoice_issuer_name: str
    billing_account_name: str | None = msgspec.field(default_factory=lambda: None)
    list_unit_price: str | None = None
    contracted_unit_price: str | None = None
    consumed_quantity: str | None = None
    consumed_unit: str | None = None
    pricing_category: str | None = None
    charge_frequency: str | None = None
    sku_price_id: str | None = None
    sku_meter: str | None = None
    region_id: str | None = None
    resource_id: str | None = None
    x_component: str = msgspec.field(name="x_Component", default="")  # tier-1, flat-2, volume, package, minimum, rounding, unpriced, …
    x_price_id: str = msgspec.field(name="x_PriceId", default="")
    x_price_version: str = msgspec.field(name="x_PriceVersion", default="")  # digest of the price's definition
    x_model: str = msgspec.field(name="x_Model", default="")
    x_usage_provider: str = msgspec.field(name="x_UsageProvider", default="")  # aws, gcp, azure, …: where the usage was read
    x_dimensions: str = msgspec.field(name="x_Dimensions", default="")  # canonical JSON object as text
    x_adjustment: str = msgspec.field(name="x_Adjustment", default="")  # id of the adjustment that made a charge of the account
    x_corrected_period: str = msgspec.field(name="x_CorrectedPeriod", default="")  # YYYY-MM, of ChargeClass Correction
    x_corrected_line_item_id: str = msgspec.field(name="x_CorrectedLineItemId", default="")
    x_pricing_currency: str = msgspec.field(name="x_PricingCurrency", default="")  # of the price book, where the account pays in another
    x_exchange_rate: str = msgspec.field(name="x_ExchangeRate", default="")  # BillingCurrency per x_PricingCurrency
    x_unpriced: bool = msgspec.field(name="x_Unpriced", default=False)
    x_withdrawn: bool = msgspec.field(name="x_Withdrawn", default=False)
    x_cause: str = msgspec.field(name="x_Cause", default="")  # of this revision: "" usage, price_book:DIGEST, control:ID


encode_line_item = encode_json = msgspec.json.Encoder().encode
decode_line_item = msgspec.json.Decoder(RatedLineItem).decode
