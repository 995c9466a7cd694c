"""Where line items live in Elasticsearch: names, mapping, index template.

One plain index per billing month, `<prefix>-line-items-YYYY.MM`, read through the alias `<prefix>-line-items`. A line item
never changes its billing period, so a restated one meets its older revision in the same index: no data stream, no rollover.

Writes go through one alias per month, `<prefix>-write-YYYY.MM`, with `require_alias`: a write to an index that somebody
deleted is then refused instead of creating one with guessed mappings. The sink creates it anew, properly.
"""

from __future__ import annotations

import re
from typing import Any

from ..schemas.errors import BadInput, RatemillError
from .limbs import LIMBS

__all__ = ["AMOUNTS", "TEMPLATE_VERSION", "IndexConflict", "Names", "index_body", "mapping", "template_body"]

# Raise it with every change of the mapping: a newer worker updates the template and the open indexes, an older one does not
# put the old ones back. Changes can only add fields.
TEMPLATE_VERSION = 2

# field of the line item -> its name under x_Limbs. What can be summed; ListCost and ContractedCost are kept as text only.
AMOUNTS = {"BilledCost": "billed", "EffectiveCost": "effective", "PricingQuantity": "pricing", "ConsumedQuantity": "consumed"}

_DIMENSIONS = (
    "BillingAccountId", "BillingCurrency", "SkuId", "SkuMeter", "ChargeCategory", "ChargeClass", "PricingUnit", "ConsumedUnit",
    "ServiceName", "ServiceCategory", "ProviderName", "PublisherName", "InvoiceIssuerName", "BillingAccountName", "PricingCategory",
    "ChargeFrequency", "SkuPriceId", "RegionId", "ResourceId", "x_Component", "x_PriceId", "x_PriceVersion", "x_Model", "x_UsageProvider",
    "x_Adjustment", "x_CorrectedPeriod", "x_CorrectedLineItemId", "x_PricingCurrency", "x_Cause",
)  # fmt: skip
# Exact text that nobody filters by: kept in _source only.
_TEXT_ONLY = (
    "BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "ListUnitPrice", "ContractedUnitPrice", "PricingQuantity",
    "ConsumedQuantity", "ChargeDescription", "x_Dimensions", "x_ExchangeRate",
)  # fmt: skip
_DATES = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")

_PREFIX = re.compile(r"[a-z0-9][a-z0-9._-]{0,60}")


class IndexConflict(RatemillError):
    """An index of our name exists and is not ours (other mapping): a person has to move it away."""


class Names:
    """Every name that depends on the prefix. Raises BadInput for a prefix that Elasticsearch would not take."""

    def __init__(self, prefix: str = "ratemill") -> None:
        if not _PREFIX.fullmatch(prefix):
            raise BadInput(f"elasticsearch index prefix {prefix!r}: use at most 61 of a-z, 0-9, '.', '_' and '-', a letter or digit first")
        self.prefix = prefix
        self.alias = f"{prefix}-line-items"
        self.template = f"{prefix}-line-items"
        self.pattern = f"{prefix}-line-items-*"

    def index(self, month: str) -> str:
        """The index of a billing month `YYYY.MM`."""
        return f"{self.alias}-{month}"

    def write_alias(self, month: str) -> str:
        """The alias that writes to the index of a billing month `YYYY.MM`. Must not match `pattern`."""
        return f"{self.prefix}-write-{month}"


def mapping() -> dict[str, Any]:
    """Strict mapping: a field it does not name is an error of that line item, never a guess."""
    limb = {"type": "long", "index": False}  # summed, never searched
    properties: dict[str, Any] = {name: {"type": "keyword"} for name in _DIMENSIONS}
    properties |= {name: {"type": "keyword", "index": False, "doc_values": False} for name in _TEXT_ONLY}
    properties |= {name: {"type": "date", "format": "strict_date_optional_time"} for name in _DATES}
    properties |= {
        "x_LineItemId": {"type": "keyword", "index": False},  # to sort by; look it up with an `ids` query
        "x_Revision": {"type": "long", "index": False},
        "x_Unpriced": {"type": "boolean"},
        "x_Withdrawn": {"type": "boolean"},
        "x_Limbs": {"properties": {name: {"properties": dict.fromkeys(LIMBS, limb)} for name in AMOUNTS.values()}},
    }
    return {"dynamic": "strict", "_meta": {"ratemill_template": TEMPLATE_VERSION}, "properties": properties}


def template_body(names: Names, *, refresh_interval: str, replicas: str | None) -> dict[str, Any]:
    """The index template. `refresh_interval` is explicit because an index without one stops refreshing while nobody searches."""
    settings: dict[str, Any] = {"index": {"refresh_interval": refresh_interval}}
    if replicas is not None:
        settings["index"]["auto_expand_replicas"] = replicas
    return {
        "index_patterns": [names.pattern],
        "priority": 500,
        "version": TEMPLATE_VERSION,
        "template": {"settings": settings, "mappings": mapping(), "aliases": {names.alias: {}}},
    }


def index_body(names: Names, month: str, template: dict[str, Any]) -> dict[str, Any]:
    """What an index of one month is created with: the template spelled out, so that it holds even if the template is gone."""
    parts = template["template"]
    aliases = {**parts["aliases"], names.write_alias(month): {"is_write_index": True}}
    return {"settings": parts["settings"], "mappings": parts["mappings"], "aliases": aliases}
