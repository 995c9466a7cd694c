"""`GET /v1/me`: whose key this is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.responses import Response

from .access import any_key
from .problems import documented
from .tokens import SCOPES, Principal

__all__ = ["router"]

router = APIRouter(tags=["keys"])


class Me(BaseModel):
    """What a key is for."""

    name: str = Field(description="As given to `ratemill tokens create`.", examples=["dashboard"])
    account: str | None = Field(description="The only account that it is for; null: an operator's, all accounts.", examples=["account-1"])
    scopes: list[str] = Field(examples=[["costs:read"]])
    expires_at: str = Field(description="RFC 3339, UTC.", examples=["2026-12-24T00:00:00Z"])


@router.get("/v1/me", response_model=Me, responses=documented(401, 503), operation_id="getMe", summary="What the key of the request is for.")
async def get_me(principal: Annotated[Principal, Depends(any_key)]) -> Response:
    """For every key, whatever its scopes."""
    ends = datetime.fromtimestamp(principal.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    scopes = [scope for scope in SCOPES if scope in principal.scopes]
    me = {"name": principal.name, "account": principal.account, "scopes": scopes, "expires_at": ends}
    return Response(msgspec.json.encode(me), media_type="application/json")
