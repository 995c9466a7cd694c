"""`GET /v1/line-items/{id}/explanation`: where a line item comes from."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from ..schemas.errors import BadInput
from ..schemas.explanation import Explanation
from ..sinks.line_items import read_line_item
from .access import account_of, needs
from .parts import Parts
from .problems import Problem, documented
from .tokens import Principal

__all__ = ["SCHEMAS", "router"]

router = APIRouter(tags=["costs"])

_PREFIX = "Explanation."  # their own names are short ones: Step, Value, Part
(_SCHEMA,), _parts = msgspec.json.schema_components([Explanation], ref_template=f"#/components/schemas/{_PREFIX}{{name}}")
SCHEMAS: dict[str, Any] = {_PREFIX + name: schema for name, schema in _parts.items()}


@router.get(
    "/v1/line-items/{id}/explanation",
    responses={
        200: {"description": "The document of `ratemill explain --json`.", "content": {"application/json": {"schema": _SCHEMA}}},
        **documented(400, 401, 403, 404, 429, 503, 504),
    },
    response_class=Response,
    operation_id="explainLineItem",
    summary="Explain a line item.",
)
async def explain_line_item(
    request: Request,
    principal: Annotated[Principal, Depends(needs("costs:read"))],
    id: Annotated[str, Path(max_length=512, description="x_LineItemId")],
    events: Annotated[int, Query(ge=0, le=200, description="Events on a page; 0: look for none, which is quicker.")] = 20,
    page: Annotated[int, Query(ge=1, le=1_000_000, description="Which page of the events.")] = 1,
) -> Response:
    """Its price, its arithmetic, its revisions, the events behind it: made anew from Kafka, and compared with what is stored.

    It reads a partition, which takes seconds; few may be under way at once. A key of an account is not told who published prices or closed
    months, nor why.
    """
    parts: Parts = request.app.state.parts
    account = account_of(principal, None)
    if await read_line_item(parts.elasticsearch, parts.index_prefix, id, account) is None:
        raise _unknown()
    with parts.ports.explaining.passed():
        try:
            found = await parts.ports.explain(id, account, events=events, page=page)
        except BadInput:  # it was there a moment ago
            raise _unknown() from None
    return Response(msgspec.json.encode(found), media_type="application/json")


def _unknown() -> Problem:
    return Problem(404, "not-found", "there is no such line item, or it is of an account that the key is not for")
