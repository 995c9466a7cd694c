"""`GET /v1/completeness` and `POST /v1/heartbeats`: whether a source sent usage, had none, or was silent."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ..schemas.times import NS
from .access import needs
from .bodies import read_model
from .parts import Parts
from .problems import documented
from .sources.view import read_completeness
from .tokens import Principal

__all__ = ["router"]

router = APIRouter(tags=["completeness"])

_HOUR = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"


class HourOfSource(BaseModel):
    """A source in an hour of usage."""

    hour: str = Field(description="Its start.", examples=["2026-11-27T10:00:00Z"])
    state: str = Field(description="ok, no usage, silent, pending, or not expected", examples=["ok"])
    events: int = Field(description="Whose usage was in this hour, second deliveries included.")
    last_arrival: str | None = Field(description="Of one of them.")
    heartbeats: int


class SourceRow(BaseModel):
    """A source, hour by hour."""

    source: str
    hours: list[HourOfSource]


class Completeness(BaseModel):
    """Every source that was expected in one of the hours."""

    counted_through: str | None = Field(description="Everything that had arrived by then is counted; null: nothing is, no `ratemill watch` ran.")
    sources: list[SourceRow]


class HeartbeatInput(BaseModel):
    """A source that lives, whether or not it has usage."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(min_length=1, max_length=1_024, description="As in the `source` of its events.", examples=["collector-7"])


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": HeartbeatInput.model_json_schema(), "example": {"source": "collector-7"}}},
    }
}


@router.get("/v1/completeness", response_model=Completeness, responses=documented(400, 401, 403, 503), operation_id="getCompleteness",
            summary="Which sources sent usage, hour by hour.")  # fmt: skip
async def get_completeness(
    request: Request,
    principal: Annotated[Principal, Depends(needs("completeness:read"))],
    since: Annotated[str | None, Query(alias="from", pattern=_HOUR, description="The first hour; without it: a day before `to`.")] = None,
    until: Annotated[str | None, Query(alias="to", pattern=_HOUR, description="The hour behind the last one; without it: now.")] = None,
    source: Annotated[str | None, Query(max_length=1_024, description="Only this one.")] = None,
) -> Response:
    """For operators only: a source may send usage of many accounts, and its name is none of theirs. At most a week at once."""
    parts: Parts = request.app.state.parts
    now = parts.now_ns() // NS

    def found() -> bytes:
        return msgspec.json.encode(read_completeness(parts.sources, parts.expected_sources, since, until, source, now))

    return Response(await asyncio.to_thread(found), media_type="application/json")


@router.post("/v1/heartbeats", status_code=204, response_class=Response, responses=documented(400, 401, 403, 408, 413, 415, 503),
             openapi_extra=_BODY, operation_id="postHeartbeat", summary="Say that a source lives.")  # fmt: skip
async def post_heartbeat(request: Request, principal: Annotated[Principal, Depends(needs("events:write"))]) -> None:
    """A collector without usage says so once an hour, or more often. It is not an event: it is rated nowhere, and counted nowhere else."""
    parts: Parts = request.app.state.parts
    given = await read_model(request, HeartbeatInput)
    await asyncio.to_thread(parts.sources.heartbeat, given.source, parts.now_ns() // NS)
