"""`GET /v1/costs`: what usage costs, seconds after it; once, or again whenever that changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import format_sse_event
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from ..schemas.errors import RatemillError
from .access import still_allowed
from .amounts import Amount
from .cost_view import read_cost_view
from .live import Watched
from .parts import Parts
from .problems import documented
from .questions import MOST_ROWS, Asked, Question, Reader
from .tokens import Principal

__all__ = ["router"]

router = APIRouter(tags=["costs"])

_log = logging.getLogger("ratemill.api")
HEARTBEAT_S = 15
CHECK_S = 2  # whether the key still holds
SLOWEST_S = 60
_EVENT = 'event: costs\ndata: {"rows":[],"totals":[],"periods":[]}\nid: 4f0ad3d5\n\n'

class CostGroup(BaseModel):
    """What the line items of one group cost, in one currency. Amounts are exact."""

    group: dict[str, str | None] = Field(description="Value of each dimension of `by`; null: line items have none.", examples=[{"sku": "egress"}])
    currency: str = Field(examples=["USD"])
    billed_cost: Amount
    effective_cost: Amount
    line_items: int
    unpriced: int = Field(description="Line items that have no price yet; they cost 0 until they have.")
    pricing_quantity: Amount | None = Field(default=None, description="Where `by` has unit.")
    consumed_quantity: Amount | None = Field(default=None, description="Where `by` has consumed_unit.")


class CurrencyTotal(BaseModel):
    """All rows of one currency."""

    currency: str = Field(examples=["USD"])
    billed_cost: Amount
    effective_cost: Amount
    line_items: int
    unpriced: int


class PeriodStatus(BaseModel):
    """One billing month: final once it is closed, an estimate until then."""

    period: str = Field(examples=["2026-11"])
    status: str = Field(description="final or estimate", examples=["estimate"])
    currency: str = Field(examples=["USD"])
    billed_cost: Amount
    closed_at: str = Field(default="", description="RFC 3339; empty for an estimate.")


class Costs(BaseModel):
    """Rows, their totals, and the months that they are of."""

    rows: list[CostGroup]
    totals: list[CurrencyTotal]
    periods: list[PeriodStatus]


@router.get("/v1/costs", response_model=Costs, responses=documented(400, 401, 403, 503), operation_id="getCosts", summary="Read costs.")
async def get_costs(request: Request, question: Asked) -> Response:
    """Exact totals of the line items in Elasticsearch, which has them seconds after the usage. What is withdrawn is left out."""
    return Response(await _read(request.app.state.parts, question), media_type="application/json")


async def _read(parts: Parts, question: Question) -> bytes:
    chosen = question.selection
    view = await read_cost_view(
        parts.elasticsearch, parts.index_prefix, account=chosen.account, period=chosen.period, where=dict(chosen.where), within=chosen.within,
        by=question.by, most_rows=MOST_ROWS, cache=parts.cost_cache,
    )  # fmt: skip
    return msgspec.json.encode(view)


async def _watching(request: Request, principal: Reader, question: Asked) -> AsyncIterator[Watched]:
    parts: Parts = request.app.state.parts
    async with parts.live.watch(question, principal.token_id, partial(_read, parts, question)) as watched:
        await watched.newer("")  # once the first byte has left, an error cannot be answered any more
        yield watched


_STREAM = {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EVENT}}}


@router.get(
    "/v1/costs/stream",
    response_class=Response,
    responses={**documented(400, 401, 403, 429, 503), 200: _STREAM},
    operation_id="streamCosts",
    summary="Read costs as they change.",
)
async def stream_costs(
    request: Request,
    principal: Reader,
    watched: Annotated[Watched, Depends(_watching)],
    last_event_id: Annotated[str, Header(max_length=100, description="id of the last event that was read: it is not sent again.")] = "",
) -> Response:
    """The document of `GET /v1/costs` at once, and again whenever it changes, each as an event `costs` with a digest of it as id.

    A comment every 15 s says that the stream is alive. It ends with the key, when Ratemill stops, and when Elasticsearch does not answer.
    """
    return _Events(_events(request, principal, watched, last_event_id), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _events(request: Request, principal: Principal, watched: Watched, seen: str) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    beat = clock() + HEARTBEAT_S
    try:
        while await still_allowed(request, principal):
            try:
                async with asyncio.timeout(min(CHECK_S, max(beat - clock(), 0))):
                    version = await watched.newer(seen)
            except TimeoutError:
                if clock() < beat:
                    continue
                yield b": alive\n\n"
            else:
                if version is None:
                    return
                seen = version.id
                yield format_sse_event(event="costs", id=seen, data_str=version.data.decode())
            beat = clock() + HEARTBEAT_S
    except RatemillError as error:  # the next request is told what is wrong
        _log.warning("a stream of costs ends: %s (request %s)", error, request.scope.get("request_id", ""))


class _Events(StreamingResponse):
    """Gives a client up that takes nothing for a while: it would keep its place for as long as its connection lasts."""

    async def stream_response(self, send: Send) -> None:
        async def in_time(message: Message) -> None:
            async with asyncio.timeout(SLOWEST_S):
                await send(message)

        try:
            await super().stream_response(in_time)
        except TimeoutError:
            _log.info("a stream of costs ends: its client took nothing for %d s", SLOWEST_S)
