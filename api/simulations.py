"""`POST /v1/prices:simulate`: what usage would cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from pydantic.config import JsonDict
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ..schemas.errors import UNREADABLE, BadPriceBook
from ..schemas.plain_form import EVENT
from .access import account_of, needs
from .bodies import read_body, unpack
from .parts import Parts
from .ports import Simulation
from .problems import Problem, documented
from .tokens import Principal

__all__ = ["router"]

router = APIRouter(tags=["prices"])

MOST_MISTAKES = 100  # of a price book that are told
_BOOK = "currency: USD\nprices:\n  - {id: egress, sku: egress, unit: GB, model: unit, unit_price: \"0.08\"}\n"
_AMOUNT: JsonDict = {"pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["0.1"]}


class EventCounts(BaseModel):
    """received = counted + duplicates + rejected."""

    received: int
    counted: int
    duplicates: int
    rejected: int


class SimulatedRejection(BaseModel):
    """An event that does not count."""

    pointer: str = Field(description="JSON pointer to it.", examples=["/events/3"])
    reason: str = Field(description="Stable; those of the dead letters, and forbidden_account.", examples=["bad_quantity"])
    detail: str = Field(description="For a person.")


class SimulatedTotal(BaseModel):
    """What all line items of one currency come to."""

    currency: str = Field(examples=["USD"])
    billed_cost: str = Field(json_schema_extra=_AMOUNT)
    line_items: int
    unpriced: int


class SimulationOutcome(BaseModel):
    """What the events would cost."""

    digest: str = Field(description="Of the tariff by which they were rated.")
    events: EventCounts
    rejections: list[SimulatedRejection]
    totals: list[SimulatedTotal]
    open_periods: list[str] = Field(description="Months of the line items. What is due when a month ends is not in them.", examples=[["2026-11"]])
    line_items: list[dict[str, Any]] = Field(description="As `ratemill rate` writes them, in the words of FOCUS 1.2.")


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]
    prices: str | None = None


_BODY = {
    "requestBody": {
        "required": True,
        "description": "Content encodings: gzip, zstd, none.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["events"],
                    "additionalProperties": False,
                    "properties": {
                        "events": {"type": "array", "items": {}, "description": "CloudEvents, as in POST /v1/events; each is judged by itself."},
                        "prices": {
                            "type": ["string", "null"],
                            "description": "A price book in YAML, with its meters, to rate by; it is not published. Without it: the book in force.",
                        },
                    },
                },
                "example": {"events": [EVENT], "prices": _BOOK},
            }
        },
    }
}


@router.post(
    "/v1/prices:simulate",
    response_model=SimulationOutcome,
    responses=documented(400, 401, 403, 408, 413, 415, 422, 429, 503, 504),
    openapi_extra=_BODY,
    operation_id="simulatePrices",
    summary="Rate usage without counting it.",
)
async def simulate_prices(request: Request, principal: Annotated[Principal, Depends(needs("prices:read"))]) -> Response:
    """What events would cost by themselves, under the book in force or a draft: the line items of `ratemill rate`. Nothing is stored.

    No event is too old. Events of other accounts than the key's are rejected. What would take too much computing is answered 422.
    """
    parts: Parts = request.app.state.parts
    with parts.outbox.room() as room:
        simulation = await _simulation(request, parts, account_of(principal, None), room)
        with parts.ports.simulating.passed():
            try:
                return Response(await parts.ports.simulate(simulation), media_type="application/json")
            except BadPriceBook as error:
                what = f"the price book has mistakes, such as {error.mistakes[0]}"
                raise Problem(400, "bad-price-book", what, more={"mistakes": error.mistakes[:MOST_MISTAKES]}) from None


async def _simulation(request: Request, parts: Parts, account: str | None, room: Callable[[int], None]) -> Simulation:
    """What a request asks for. room: told of the bytes that it holds. Raises Problem."""
    if (media_type := request.headers.get("content-type", "").partition(";")[0].strip().lower()) != "application/json":
        raise Problem(415, "unknown-media-type", f"content-type {media_type[:60]!r} is not known; use application/json")
    sent = await read_body(request.stream(), request.headers.get("content-length"), parts.max_body_bytes, room)
    body = await run_in_threadpool(unpack, sent, request.headers.get("content-encoding", ""), parts.max_body_bytes)
    room(2 * len(body))  # as texts and as a task
    try:
        found = msgspec.json.decode(body, type=_Body)
    except UNREADABLE as error:
        raise Problem(400, "bad-request", f"the body: {error}; see the OpenAPI document at /openapi.json") from None
    if len(found.events) > parts.max_events:
        raise Problem(413, "too-many-events", f"the body holds more than {parts.max_events:,} events; send fewer, or use `ratemill rate`")
    return Simulation([bytes(event) for event in found.events], found.prices, account)
