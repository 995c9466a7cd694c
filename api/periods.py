"""`GET /v1/periods`, `POST /v1/periods/{period}:close`, `GET /v1/control/{id}`: billing months, and the end of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from ..sinks.costs import costs
from ..sinks.periods import read_closed
from .access import account_of, needs, needs_operator
from .parts import Parts
from .problems import Problem, documented
from .tokens import Principal

__all__ = ["router"]

router = APIRouter(tags=["operations"])

_MONTH = "^2[01][0-9]{2}-(0[1-9]|1[0-2])$"


class Period(BaseModel):
    """A billing month: final once it is closed, an estimate until then."""

    period: str = Field(examples=["2026-11"])
    status: str = Field(description="final or estimate", examples=["estimate"])
    line_items: int


class Periods(BaseModel):
    """The months that have line items."""

    periods: list[Period]
    closed_through: str = Field(description="The last closed month; it and all before it are final. Empty: none is closed.", examples=["2026-10"])
    closed_at: str = Field(description="RFC 3339: when that one was closed; empty: none is.")


@router.get(
    "/v1/periods", response_model=Periods, responses=documented(400, 401, 403, 503), operation_id="getPeriods", summary="Read billing months."
)
async def get_periods(
    request: Request,
    principal: Annotated[Principal, Depends(needs("costs:read"))],
    account: Annotated[str | None, Query(max_length=1_024, description="Only this account. A key of an account needs no such parameter.")] = None,
) -> Response:
    """Which months are final, as Elasticsearch knows it: seconds after the last partition has answered a close."""
    parts: Parts = request.app.state.parts
    rows = await costs(parts.elasticsearch, parts.index_prefix, account=account_of(principal, account), by=("period",))
    closed = await read_closed(parts.elasticsearch, parts.index_prefix)
    counts: dict[str, int] = {}
    for row in rows:  # one for each currency
        month = row.group["period"] or ""
        counts[month] = counts.get(month, 0) + row.line_items
    periods = [{"period": month, "status": closed.status(month), "line_items": count} for month, count in sorted(counts.items())]
    return JSONResponse({"periods": periods, "closed_through": closed.through, "closed_at": closed.closed_at})


class ControlReceipt(BaseModel):
    """What one partition made of a request."""

    partition: int
    applied: bool
    outcome: str = Field(examples=["closed through 2026-10"])
    counts: dict[str, int] = Field(examples=[{"line_items": 3}])
    next_offsets: dict[str, int] = Field(description="Topic to first offset that had not been counted.")
    book: str = Field(description="Digest of the price book in force.")
    revision: int
    at: str = Field(description="RFC 3339.")


class ControlRequest(BaseModel):
    """A request in the log `ratemill.control`, and what came of it; members beside these depend on what is asked for."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(examples=["5f0c8a1e4b7d4c0e9a3f2b6d8c1e7a90"])
    request: str = Field(description="close, amend, backfill_open, backfill_close, backfill_revert or rerate", examples=["close"])
    author: str = Field(description="Who asked: over HTTP, the name of the key.")
    reason: str
    at: str = Field(description="RFC 3339: when it was asked for.")
    receipts: list[ControlReceipt]
    waiting: list[int] = Field(description="Partitions that have not answered yet. None: it has taken effect everywhere.")


class CloseWanted(BaseModel):
    """Why, and whether although the month has not ended."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "invoice run of October"}]})

    reason: str = Field(min_length=1, max_length=1_024, description="Kept in the log, for whoever asks later.")
    early: bool = Field(default=False, strict=True, description="Close the current month although it has not ended.")


@router.post(
    "/v1/periods/{period}:close",
    status_code=202,
    response_model=ControlRequest,
    responses={
        200: {"model": ControlRequest, "description": "It was closed before: the request that closed it."},
        **documented(400, 401, 403, 429, 503, 504),
    },
    operation_id="closePeriod",
    summary="Close a billing month.",
)
async def close_period(
    request: Request,
    principal: Annotated[Principal, Depends(needs_operator("periods:close"))],
    period: Annotated[str, Path(pattern=_MONTH, examples=["2026-10"])],
    wanted: CloseWanted,
) -> Response:
    """For operators. Closes this month and all before it, for all accounts: late usage becomes corrections. It cannot be taken back.

    202: the request is in the log, and takes effect partition by partition: see GET /v1/control/{id}. 200: the month was closed before, by
    the request that is shown.
    """
    parts: Parts = request.app.state.parts
    with parts.ports.controlling.passed():
        found, new = await parts.ports.close_period(period, author=principal.name, reason=wanted.reason, early=wanted.early)
    return _shown(found, 202 if new else 200)


@router.get(
    "/v1/control/{id}", response_model=ControlRequest, responses=documented(400, 401, 403, 404, 429, 503, 504), operation_id="getControlRequest",
    summary="Read a request and its receipts.",
)  # fmt: skip
async def get_control_request(
    request: Request,
    _: Annotated[Principal, Depends(needs_operator("periods:close"))],
    id: Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="Of the request; x_Cause of line items names it.")],
) -> Response:
    """For operators. What was asked for, by whom, why, and what each partition made of it."""
    parts: Parts = request.app.state.parts
    with parts.ports.controlling.passed():
        found = await parts.ports.control(id)
    if found is None:
        raise Problem(404, "not-found", "there is no such request")
    return _shown(found, 200)


def _shown(found: dict[str, Any], status: int) -> Response:
    return JSONResponse(found, status, {"location": f"/v1/control/{found['id']}"} if status == 202 else None)
