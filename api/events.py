"""`POST /v1/events`: usage over HTTP."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ..schemas.decoders.registry import FORMATS
from ..schemas.plain_form import EVENT, EVENT_SCHEMA
from .access import needs
from .bodies import read_body, unpack
from .intake import MEDIA_TYPES, Intake, Shape, take
from .parts import Parts
from .problems import Problem, documented
from .tokens import Principal

__all__ = ["router"]

router = APIRouter(tags=["usage"])

_THREAD_BYTES = 256 << 10  # a larger body is read in a thread, so that it does not hold up all other requests


Format = StrEnum("Format", {name.replace("-", "_"): name for name in sorted(FORMATS)})  # type: ignore[misc]
_PLAIN = Format("cloudevents")


class EventOutcome(BaseModel):
    """What became of one event."""

    pointer: str = Field(description="JSON pointer to what it was read from: empty for the body, /3 for its fourth element or line.", examples=["/0"])
    status: str = Field(description="accepted, duplicate (it stands before in this request), or rejected", examples=["accepted"])
    source: str = Field(default="", description="Of the event, if it could be read.", examples=["aws/eu-west-1/collector-7"])
    id: str = Field(default="", description="Of the event, if it could be read.", examples=["b3f1"])
    reason: str = Field(default="", description="Of a rejection; stable.", examples=["bad_quantity"])
    detail: str = Field(default="", description="Of a rejection, for a person.")


class EventsOutcome(BaseModel):
    """What became of a request's events."""

    accepted: int
    duplicate: int
    rejected: int
    results: list[EventOutcome]


_BODY = {
    "requestBody": {
        "required": True,
        "description": "One event or several. Content encodings: gzip, zstd, none.",
        "content": {
            "application/cloudevents+json": {"schema": EVENT_SCHEMA, "example": EVENT},
            "application/cloudevents-batch+json": {"schema": {"type": "array", "items": EVENT_SCHEMA}, "example": [EVENT]},
            "application/json": {"schema": {"anyOf": [EVENT_SCHEMA, {"type": "array", "items": EVENT_SCHEMA}]}, "example": EVENT},
            "application/x-ndjson": {"schema": {"type": "string"}, "example": msgspec.json.encode(EVENT).decode() + "\n"},
        },
    }
}


@router.post(
    "/v1/events",
    status_code=202,
    response_model=EventsOutcome,
    responses=documented(400, 401, 403, 408, 413, 415, 422, 429, 503),
    openapi_extra=_BODY,
    operation_id="postEvents",
    summary="Send usage.",
)
async def post_events(
    request: Request,
    principal: Annotated[Principal, Depends(needs("events:write"))],
    format: Annotated[Format, Query(description="Format of the events.")] = _PLAIN,
    backfill: Annotated[str, Query(max_length=200, pattern=r"^[\x21-\x7e]*$", description="Name of a declared backfill, for usage of any age.")] = "",
) -> Response:
    """Accepted events are in Kafka, on all replicas, when the answer comes. Sending a request again is always safe: an event counts once.

    Each event has a result of its own: those that are accepted count, whatever becomes of the others. Without one that is accepted or
    known from this request the answer is 422, with the same results.
    """
    parts: Parts = request.app.state.parts
    shape = _shape_of(request.headers.get("content-type", ""))
    with parts.outbox.room() as room:
        sent = await read_body(request.stream(), request.headers.get("content-length"), parts.max_body_bytes, room)
        encoding = request.headers.get("content-encoding", "")
        if len(sent) > _THREAD_BYTES or encoding:
            body = await run_in_threadpool(unpack, sent, encoding, parts.max_body_bytes)
        else:
            body = unpack(sent, encoding, parts.max_body_bytes)
        room(len(body))  # as texts and records it takes about as much again
        arguments = (body, shape, format.value, principal.account, backfill, parts.limits, parts.max_events, parts.now_ns())
        found = await run_in_threadpool(take, *arguments) if len(body) > _THREAD_BYTES else take(*arguments)
        if found.records:
            await parts.outbox.send(found.records, [("ratemill-backfill", backfill.encode())] if backfill else [])
    return _answer(found, parts)


def _shape_of(content_type: str) -> Shape:
    media_type = content_type.partition(";")[0].strip().lower()
    shape = MEDIA_TYPES.get(media_type)
    if shape is None:
        raise Problem(415, "unknown-media-type", f"content-type {media_type[:60]!r} is not known; use one of {', '.join(MEDIA_TYPES)}")
    return shape


def _answer(found: Intake, parts: Parts) -> Response:
    counts = {status: found.count(status) for status in ("accepted", "duplicate", "rejected")}
    for status, count in counts.items():
        parts.metrics.events.labels(status).inc(count)
    if counts["rejected"] == len(found.results):
        raise Problem(422, "all-rejected", "no event of the request could be accepted; see results", more={**counts, "results": found.results})
    return Response(msgspec.json.encode({**counts, "results": found.results}), 202, media_type="application/json")
