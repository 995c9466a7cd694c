"""`GET /v1/line-items`: line items in pages, or all of them as a stream."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from ..schemas.errors import BadInput
from ..schemas.line_item import RatedLineItem
from ..sinks.dimensions import filters_of
from ..sinks.line_items import Page, read_line_item, read_page
from .parts import Parts
from .problems import Problem, documented
from .questions import Reader, Selected

__all__ = ["router"]

router = APIRouter(tags=["costs"])

STREAM_PAGE = 2_000
_DAY = r"^[0-9]{4}-[01][0-9]-[0-3][0-9]$"
COLUMNS = [field.encode_name for field in msgspec.structs.fields(RatedLineItem)]
_MEDIA = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


class LineItemPage(BaseModel):
    """Line items in the words of FOCUS 1.2, by charge period and id. Costs, prices and quantities are exact decimals, as texts."""

    line_items: list[dict[str, Any]]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class _Cursor(msgspec.Struct, array_like=True):
    start: str
    id: str


@router.get(
    "/v1/line-items",
    response_model=LineItemPage,
    responses={**documented(400, 401, 403, 503), 200: {"model": LineItemPage, "content": {"application/x-ndjson": {}, "text/csv": {}}}},
    operation_id="getLineItems",
    summary="Read line items.",
)
async def get_line_items(
    request: Request,
    selection: Selected,
    day: Annotated[str | None, Query(pattern=_DAY, description="Charge periods that begin on this day, in UTC.", examples=["2026-11-27"])] = None,
    limit: Annotated[int, Query(ge=1, le=1_000, description="Line items of a page.")] = 100,
    cursor: Annotated[str, Query(max_length=300, description="`next` of the page before.")] = "",
    format: Annotated[Literal["json", "ndjson", "csv"], Query(description="json: a page; ndjson, csv: all of them, as a stream.")] = "json",
) -> Response:
    """Withdrawn line items are left out. A line item that is restated between two pages keeps its place."""
    parts: Parts = request.app.state.parts
    where = {**dict(selection.where), **({} if day is None else {"day": day})}
    read = partial(
        read_page, parts.elasticsearch, parts.index_prefix, account=selection.account, period=selection.period, where=where, within=selection.within
    )
    if format == "json":
        page = await read(size=limit, after=_place(cursor))
        return Response(msgspec.json.encode({"line_items": page.items, "next": _cursor(page.after)}), media_type="application/json")
    filters_of(selection.account, selection.period, where, selection.within)  # once the first byte has left, a mistake cannot be answered any more
    pages = _pages(read, _place(cursor))
    return StreamingResponse(_csv(pages) if format == "csv" else _lines(pages), media_type=_MEDIA[format])


@router.get(
    "/v1/line-items/{id}", responses=documented(400, 401, 403, 404, 503), operation_id="getLineItem", summary="Read one line item.",
    response_model=dict[str, Any],
)  # fmt: skip
async def get_line_item(
    request: Request,
    principal: Reader,
    id: Annotated[str, Path(max_length=512, description="x_LineItemId")],
) -> Response:
    """Its latest revision, also when that was withdrawn."""
    parts: Parts = request.app.state.parts
    found = await read_line_item(parts.elasticsearch, parts.index_prefix, id, principal.account)
    if found is None:
        raise Problem(404, "not-found", "there is no such line item, or it is of an account that the key is not for")
    return Response(msgspec.json.encode(found), media_type="application/json")


def _cursor(after: list[Any] | None) -> str | None:
    return None if after is None else base64.urlsafe_b64encode(msgspec.json.encode(after)).decode().rstrip("=")


def _place(cursor: str) -> list[Any] | None:
    """Raises Problem 400 for a cursor that is none of ours."""
    if not cursor:
        return None
    try:
        found = msgspec.json.decode(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True), type=_Cursor)
        filters_of(None, None, {"hour": found.start})
    except (ValueError, msgspec.MsgspecError, BadInput):
        raise Problem(400, "bad-cursor", "cursor is none that a page has given; begin without one") from None
    return [found.start, found.id]


async def _pages(read: Callable[..., Awaitable[Page]], after: list[Any] | None) -> AsyncIterator[list[dict[str, Any]]]:
    while True:
        page = await read(size=STREAM_PAGE, after=after)
        yield page.items
        after = page.after
        if after is None:
            return


async def _lines(pages: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    async for items in pages:
        yield b"".join([msgspec.json.encode(item) + b"\n" for item in items])


async def _csv(pages: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    yield _rows([COLUMNS])
    async for items in pages:
        yield _rows([["" if (value := item.get(name)) is None else _safe(value) for name in COLUMNS] for item in items])


def _safe(value: Any) -> str:
    """Spreadsheets run what begins like a formula, and names are the customers' to choose; a number is no formula."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return "'" + text if text[:1] in "=+@\t\r" or (text[:1] == "-" and not text[1:2].isdigit()) else text


def _rows(rows: Iterable[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
