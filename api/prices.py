"""`GET /v1/prices`: the prices in force."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from ..schemas.errors import Rejection
from ..schemas.times import parse_time
from .access import account_of, needs
from .parts import Parts
from .ports import PriceQuery
from .problems import Problem, documented
from .tokens import Principal

__all__ = ["router"]

router = APIRouter(tags=["prices"])


class PriceView(BaseModel):
    """A price as `ratemill prices check --json` shows it; amounts are exact decimals, as texts. Members beside these depend on the model."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(examples=["egress-2026"])
    sku: str = Field(examples=["egress"])
    unit: str = Field(examples=["GB"])
    model: str = Field(examples=["graduated"])
    currency: str = Field(examples=["USD"])
    version: str = Field(description="Changes whenever its definition does; line items name it.")
    effective_from: str | None = Field(description="RFC 3339; null: always.")
    effective_to: str | None = Field(description="RFC 3339, exclusive; null: nothing ends it.")
    tiers: list[dict[str, Any]] = Field(examples=[[{"name": "tier-1", "up_to": "10", "unit_price": "0.09"}]])
    accounts: list[str] = Field(description="For whom it replaces the general price; empty: it is the general one.")
    applies: bool | None = Field(description="Whether it is the price that the account has at this time; null where no account was asked for.")


class PricePage(BaseModel):
    """Prices of the book in force."""

    at: str = Field(description="The time at which these prices are in force.", examples=["2026-11-27T10:15:00Z"])
    digest: str = Field(description="Of the tariff; changes with any part of it.")
    published_at: str | None = Field(description="Null: nothing was published yet.")
    currency: str = Field(description="In which the account is billed; without an account, that of the book.", examples=["USD"])
    exchange_rates: list[dict[str, Any]] = Field(description="Of that currency; without an account, all.")
    prices: list[PriceView]
    terms: dict[str, Any] | None = Field(description="What the account has of its own, and the adjustments that are for it. Null without an account.")
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


@router.get("/v1/prices", response_model=PricePage, responses=documented(400, 401, 403, 503, 504), operation_id="getPrices", summary="Read prices.")
async def get_prices(
    request: Request,
    principal: Annotated[Principal, Depends(needs("prices:read"))],
    at: Annotated[str, Query(max_length=40, description="RFC 3339: of usage at this time. Empty: now.", examples=["2026-11-27T00:00:00Z"])] = "",
    sku: Annotated[str, Query(max_length=1_024, description="Only prices of this SKU.")] = "",
    account: Annotated[str | None, Query(max_length=1_024, description="As this account sees them. A key of an account needs none.")] = None,
    limit: Annotated[int, Query(ge=1, le=1_000, description="Prices of a page.")] = 100,
    cursor: Annotated[str, Query(max_length=40, description="`next` of the page before. It ends with the next price book.")] = "",
) -> Response:
    """The book in force now, and of it the prices that hold at a time. An account sees the general prices and its own, never another's."""
    parts: Parts = request.app.state.parts
    own = account_of(principal, account)
    try:
        at_ns = parse_time(at) if at else parts.now_ns() // 10**9 * 10**9
    except Rejection as rejection:
        raise Problem(400, "bad-request", f"at: {rejection.detail}") from None
    return JSONResponse(await parts.ports.prices(PriceQuery(own, sku, at_ns, limit, cursor)))
