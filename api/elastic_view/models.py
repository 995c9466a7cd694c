"""What the answers look like, for the OpenAPI document. Field names and types are those of the Billing Costs Analysis API v2."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, Field, WithJsonSchema

__all__ = ["Charts", "InstanceCosts", "ItemCosts"]

Number = Annotated[Decimal, WithJsonSchema({"type": "number", "examples": [14.0214]})]


class Quantity(BaseModel):
    """An amount of usage."""

    value: Number
    formatted_value: str = Field(examples=["24 GB"])


class DisplayQuantity(Quantity):
    """The same amount once more: here nothing is normalized."""

    type: Literal["default", "normalized"]


class Rate(BaseModel):
    """Cost of a unit: total_ecu / quantity."""

    value: Number
    formatted_value: str = Field(examples=["0.05 per GB"])


class ProductLineItemTier(BaseModel):
    """What fell into one tier of a price, or one cell of a matrix."""

    min: Number
    max: Number | None
    quantity: Quantity
    rate: Rate
    total_ecu: Number


class ProductLineItemQuantity(BaseModel):
    """What was used under one version of a price."""

    from_: str = Field(alias="from", examples=["2026-11-01T00:00:00Z"])
    to: str = Field(examples=["2026-11-15T00:00:00Z"])
    quantity: Quantity
    rate: Rate
    total_ecu: Number
    tiers: list[ProductLineItemTier]


class ProductLineItem(BaseModel):
    """What one SKU costs."""

    name: str
    sku: str
    type: str = Field(description="Service category.", examples=["Databases"])
    kind: str | None = Field(description="Service.")
    unit: str
    total_ecu: Number
    quantity: Quantity
    display_quantity: DisplayQuantity
    rate: Rate
    quantities: list[ProductLineItemQuantity] = Field(description="Empty where one rate held, without tiers.")


class Product(BaseModel):
    """What one service category, or one service, costs."""

    type: str
    total_ecu: Number
    product_line_items: list[ProductLineItem]


class Instance(BaseModel):
    """What one resource costs."""

    id: str
    name: str
    type: str
    total_ecu: Number
    product_line_items: list[ProductLineItem]


class InstanceCosts(BaseModel):
    """Costs by resource."""

    total_ecu: Number
    instances: list[Instance]


class ItemCosts(BaseModel):
    """Costs by product."""

    total_ecu: Number
    products: list[Product]


class ChartValue(BaseModel):
    """What one instance, or one SKU of an instance, costs in a day or month."""

    id: str
    name: str
    type: str
    value: Number


class ChartItem(BaseModel):
    """One day or calendar month, in UTC."""

    timestamp: int = Field(description="Where it begins, in milliseconds since 1970.", examples=[1795737600000])
    values: list[ChartValue]


class Charts(BaseModel):
    """Costs over time."""

    data: list[ChartItem]
