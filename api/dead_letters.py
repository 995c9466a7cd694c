"""`GET /v1/dead-letters`: what could not be counted."""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from ..schemas.errors import Reason
from .access import needs_operator
from .parts import Parts
from .ports import LetterQuery
from .problems import Problem, documented
from .tokens import Principal

__all__ = ["router"]

router = APIRouter(tags=["operations"])


class DeadLetterView(BaseModel):
    """An event, or a record, that could not be counted."""

    origin: str = Field(description="topic/partition/offset/index: its place among the raw usage.", examples=["usage.raw.aws/3/1042/-1"])
    reason: str = Field(examples=["not_decodable"])
    detail: str = Field(description="For a person.")
    rejected_at: str = Field(description="RFC 3339.")
    topic: str = Field(description="Whence it came.", examples=["usage.raw.aws"])
    format: str = Field(description="In which it was read; empty where it was not.")
    key: str | None = Field(description="Of the record, as text.")
    replayed: bool = Field(description="Whether `ratemill dead-letters replay` has sent it once more.")
    bytes: int = Field(description="Of the whole record.")
    raw_base64: str | None = Field(description="Its first 4,096 bytes. Null: the record had none.")
    raw_text: str | None = Field(description="The same as text; null where it is none that can be printed.")
    raw_is_whole: bool = Field(description="Whether that is all of it; `ratemill dead-letters show ORIGIN --raw` has the rest.")


class DeadLetterPage(BaseModel):
    """Dead letters, the newest first."""

    dead_letters: list[DeadLetterView]
    by_reason: dict[str, int] = Field(description="How many match, on all pages.", examples=[{"conflict": 2}])
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class _Place(msgspec.Struct, array_like=True):
    rejected_at: Annotated[int, msgspec.Meta(ge=0)]
    partition: Annotated[int, msgspec.Meta(ge=0)]
    offset: Annotated[int, msgspec.Meta(ge=0)]


@router.get(
    "/v1/dead-letters",
    response_model=DeadLetterPage,
    responses=documented(400, 401, 403, 429, 503, 504),
    operation_id="getDeadLetters",
    summary="Read dead letters.",
)
async def get_dead_letters(
    request: Request,
    _: Annotated[Principal, Depends(needs_operator("dead-letters:read"))],
    reason: Annotated[Reason | None, Query(description="Only these.")] = None,
    topic: Annotated[str, Query(max_length=249, description="Only from this topic.")] = "",
    limit: Annotated[int, Query(ge=1, le=200, description="Dead letters of a page.")] = 50,
    cursor: Annotated[str, Query(max_length=100, description="`next` of the page before.")] = "",
) -> Response:
    """For operators. Every page reads the whole topic: its last 90 days. Letters that come meanwhile change no later page."""
    parts: Parts = request.app.state.parts
    with parts.ports.reading_letters.passed():
        found = await parts.ports.letters(LetterQuery("" if reason is None else reason.value, topic, limit, _place(cursor)))
    after = None if found.after is None else base64.urlsafe_b64encode(msgspec.json.encode(found.after)).decode().rstrip("=")
    return JSONResponse({"dead_letters": found.letters, "by_reason": found.by_reason, "next": after})


def _place(cursor: str) -> tuple[int, int, int] | tuple[()]:
    """Raises Problem 400 for a cursor that is none of ours."""
    if not cursor:
        return ()
    try:
        found = msgspec.json.decode(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True), type=_Place)
    except (ValueError, msgspec.MsgspecError):
        raise Problem(400, "bad-cursor", "cursor is none that a page has given; begin without one") from None
    return found.rejected_at, found.partition, found.offset
