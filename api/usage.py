"""`GET /v1/usage`: how much was used, in the units in which it was metered and priced."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from .parts import Parts
from .problems import documented
from .questions import MOST_ROWS, Asked
from .usage_view import UsageView, read_usage

__all__ = ["router"]

router = APIRouter(tags=["costs"])


@router.get("/v1/usage", response_model=UsageView, responses=documented(400, 401, 403, 503), operation_id="getUsage", summary="Read usage.")
async def get_usage(request: Request, question: Asked) -> Response:
    """Exact quantities of the line items in Elasticsearch, by SKU, by its units, and by what else is asked for."""
    parts: Parts = request.app.state.parts
    chosen = question.selection
    view = await read_usage(
        parts.elasticsearch, parts.index_prefix, account=chosen.account, period=chosen.period, where=dict(chosen.where), within=chosen.within,
        by=question.by, most_rows=MOST_ROWS,
    )  # fmt: skip
    return Response(msgspec.json.encode(view), media_type="application/json")
