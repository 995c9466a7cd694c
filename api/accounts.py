"""One account: `GET /v1/accounts/{account}/balance` and `GET /v1/invoices/preview`."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from .amounts import Amount
from .balance_view import Balance, read_balance
from .invoice_view import read_invoice
from .parts import Parts
from .problems import Problem, documented
from .questions import MOST_ROWS, Month, Named, Whose

__all__ = ["router"]

router = APIRouter(tags=["accounts"])


class InvoiceLine(BaseModel):
    """What the line items of one SKU in one unit add up to."""

    sku: str = Field(examples=["egress"])
    unit: str = Field(examples=["GB"])
    quantity: Amount
    cost: Amount
    category: str = Field(examples=["Usage"])
    line_items: int
    unpriced: int = Field(default=0, description="Line items that have no price yet.")
    adjustment: str = Field(default="", description="Id of the adjustment that made the charge.")
    corrected: str = Field(default="", description="The closed month that it corrects.", examples=["2026-10"])


class InvoicePart(BaseModel):
    """Lines of one kind, and what they come to."""

    lines: list[InvoiceLine]
    cost: Amount


class InvoiceOfCurrency(BaseModel):
    """What the month comes to in one currency."""

    currency: str = Field(examples=["USD"])
    usage: InvoicePart
    adjustments: InvoicePart
    corrections: InvoicePart
    total: Amount
    line_items: int
    unpriced: int


class InvoiceOfMonth(BaseModel):
    """An account's month, with an invoice for each currency."""

    account: str
    period: str = Field(examples=["2026-11"])
    status: str = Field(description="final or estimate", examples=["estimate"])
    closed_at: str = Field(description="RFC 3339, of the month that was closed last; else empty.")
    invoices: list[InvoiceOfCurrency]


@router.get(
    "/v1/accounts/{account}/balance", response_model=Balance, responses=documented(400, 401, 403, 503), operation_id="getBalance",
    summary="Read what became of credits and commitments.",
)  # fmt: skip
async def get_balance(request: Request, account: Named) -> Response:
    """As far as line items tell: a credit shows once it was bought or used, and one that was granted does not say how much is left of it."""
    parts: Parts = request.app.state.parts
    view = await read_balance(parts.elasticsearch, parts.index_prefix, account, MOST_ROWS)
    return Response(msgspec.json.encode(view), media_type="application/json")


@router.get(
    "/v1/invoices/preview", response_model=InvoiceOfMonth, responses=documented(400, 401, 403, 503), operation_id="previewInvoice",
    summary="Read an account's month as an invoice.",
)  # fmt: skip
async def preview_invoice(request: Request, account: Whose, period: Month) -> Response:
    """Usage by SKU, adjustments, corrections of earlier months, and the total: the document of `ratemill invoice --json`."""
    if account is None:
        raise Problem(400, "bad-request", "an invoice is of one account; say which by the parameter account")
    parts: Parts = request.app.state.parts
    return Response(msgspec.json.encode(await read_invoice(parts.elasticsearch, parts.index_prefix, account, period)), media_type="application/json")
