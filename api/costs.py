"""`GET /v1/costs`: what usage costs, seconds after it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from ..sinks.costs import DIMENSIONS
from .access import account_of, needs
from .cost_view import read_cost_view
from .parts import Parts
from .problems import documented
from .tokens import Principal

__all__ = ["MOST_ROWS", "router"]

router = APIRouter(tags=["costs"])

_ONE = f"({'|'.join(DIMENSIONS)})"
_BY = f"^({_ONE}(,{_ONE})*)?$"
MOST_ROWS = 10_000  # of an answer; whoever wants more asks for one account or period at a time
_AMOUNT: JsonDict = {"pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["12.5"]}


class CostGroup(BaseModel):
    """What the line items of one group cost, in one currency. Amounts are exact."""

    group: dict[str, str | None] = Field(description="Value of each dimension of `by`; null: line items have none.", examples=[{"sku": "egress"}])
    currency: str = Field(examples=["USD"])
    billed_cost: str = Field(json_schema_extra=_AMOUNT)
    effective_cost: str = Field(json_schema_extra=_AMOUNT)
    line_items: int
    unpriced: int = Field(description="Line items that have no price yet; they cost 0 until they have.")
    pricing_quantity: str | None = Field(default=None, description="Where `by` has unit.", json_schema_extra=_AMOUNT)
    consumed_quantity: str | None = Field(default=None, description="Where `by` has consumed_unit.", json_schema_extra=_AMOUNT)


class CurrencyTotal(BaseModel):
    """All rows of one currency."""

    currency: str = Field(examples=["USD"])
    billed_cost: str = Field(json_schema_extra=_AMOUNT)
    effective_cost: str = Field(json_schema_extra=_AMOUNT)
    line_items: int
    unpriced: int


class PeriodStatus(BaseModel):
    """One billing month: final once it is closed, an estimate until then."""

    period: str = Field(examples=["2026-11"])
    status: str = Field(description="final or estimate", examples=["estimate"])
    currency: str = Field(examples=["USD"])
    billed_cost: str = Field(json_schema_extra=_AMOUNT)
    closed_at: str = Field(default="", description="RFC 3339; empty for an estimate.")


class Costs(BaseModel):
    """Rows, their totals, and the months that they are of."""

    rows: list[CostGroup]
    totals: list[CurrencyTotal]
    periods: list[PeriodStatus]


@router.get("/v1/costs", response_model=Costs, responses=documented(400, 401, 403, 503), operation_id="getCosts", summary="Read costs.")
async def get_costs(
    request: Request,
    principal: Annotated[Principal, Depends(needs("costs:read"))],
    account: Annotated[str | None, Query(max_length=1_024, description="Only this account. A key of an account needs no such parameter.")] = None,
    period: Annotated[str | None, Query(pattern="^[0-9]{4}-(0[1-9]|1[0-2])$", description="Only this billing month.", examples=["2026-11"])] = None,
    by: Annotated[str, Query(pattern=_BY, description=f"Dimensions, with commas between: {', '.join(DIMENSIONS)}. Empty: totals only.")] = "sku",
) -> Response:
    """Exact totals of the line items in Elasticsearch, which has them seconds after the usage. What is withdrawn is left out."""
    parts: Parts = request.app.state.parts
    view = await read_cost_view(
        parts.elasticsearch, parts.index_prefix, account=account_of(principal, account), period=period,
        by=tuple(by.split(",")) if by else (), most_rows=MOST_ROWS,
    )  # fmt: skip
    return Response(msgspec.json.encode(view), media_type="application/json")
