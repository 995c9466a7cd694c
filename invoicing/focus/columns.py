"""Which columns a row has in each version of FOCUS, and of which type they are. Source: FOCUS specification 1.2 to 1.4, CC BY 4.0.

Left out are columns that Ratemill has nothing to say in, all of them recommended or conditional: docs/focus.md lists them.
"""

from __future__ import annotations

__all__ = ["DECIMALS", "MANDATORY", "TIMES", "VERSIONS", "columns_of"]

_COMMON = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory",
    "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit",
    "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory",
    "PricingQuantity", "PricingUnit", "RegionId", "RegionName", "ResourceId", "ResourceName", "ServiceCategory", "ServiceName",
    "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId",
)  # fmt: skip
# 1.3 says who provides a service and who hosts it, and deprecates what it said before; 1.4 has that no longer.
_OLD_NAMES, _NEW_NAMES = ("ProviderName", "PublisherName"), ("HostProviderName", "ServiceProviderName")
_NAMES = {"1.2": _OLD_NAMES, "1.3": (*_OLD_NAMES, *_NEW_NAMES), "1.4": _NEW_NAMES}
VERSIONS = tuple(_NAMES)

# What FOCUS has no column for. x_LineItemId tells rows apart.
_OWN = (
    "x_LineItemId", "x_Component", "x_PriceId", "x_PriceVersion", "x_Model", "x_UsageProvider", "x_Dimensions", "x_Adjustment",
    "x_CorrectedPeriod", "x_CorrectedLineItemId", "x_PricingCurrency", "x_ExchangeRate",
)  # fmt: skip

DECIMALS = frozenset({
    "BilledCost", "ConsumedQuantity", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "ListCost", "ListUnitPrice", "PricingQuantity",
})  # fmt: skip
TIMES = frozenset({"BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"})
# Never null, in the versions that have them.
MANDATORY = frozenset({
    "BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeFrequency",
    "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ServiceCategory", "ServiceName",
    "ServiceSubcategory", "x_LineItemId", *_OLD_NAMES, *_NEW_NAMES,
})  # fmt: skip


def columns_of(version: str) -> tuple[str, ...]:
    """Names in the order of a file: FOCUS columns by name, then ours. version: one of VERSIONS."""
    return (*sorted((*_COMMON, *_NAMES[version])), *_OWN)
