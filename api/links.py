"""`POST /v1/links`: a link to the cost page that shows one account, for a while."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ..schemas.times import NS, format_time
from .access import account_of, needs
from .bodies import read_model
from .parts import Parts
from .problems import Problem, documented
from .signed_links import DEFAULT_LIFETIME_S, MAX_LIFETIME_S, MIN_LIFETIME_S
from .tokens import Principal

__all__ = ["frame_policy", "router"]

router = APIRouter(tags=["links"])


class LinkInput(BaseModel):
    """Whom a link is for."""

    model_config = ConfigDict(extra="forbid")

    account: str | None = Field(default=None, max_length=1_024, description="Whose costs it shows; a key of an account needs none.")
    expires_in_s: int = Field(default=DEFAULT_LIFETIME_S, ge=MIN_LIFETIME_S, le=MAX_LIFETIME_S, strict=True, description="Seconds from now.")
    period: str | None = Field(
        default=None, pattern="^[0-9]{4}-(0[1-9]|1[0-2])$", description="Billing month that the page begins with; the link shows the others too."
    )


class Link(BaseModel):
    """A link. Whoever has it can read the account's costs and line items until it ends."""

    url: str = Field(examples=["https://costs.example.com/#link=rml_WyJhY21l.c2lnbmF0dXJl"])
    token: str = Field(description="The same as a key: Authorization: Bearer …", examples=["rml_WyJhY21l.c2lnbmF0dXJl"])
    expires_at: str = Field(description="RFC 3339; no later than the end of the key that made it.", examples=["2026-11-27T10:15:00Z"])


_EXAMPLE = {"account": "acme", "expires_in_s": 900}
_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": LinkInput.model_json_schema(), "example": _EXAMPLE}}}
}


@router.post("/v1/links", status_code=201, response_model=Link, responses=documented(400, 401, 403, 408, 413, 415, 503), openapi_extra=_BODY,
             operation_id="createLink", summary="Make a link for an embedded view.")  # fmt: skip
async def create_link(request: Request, principal: Annotated[Principal, Depends(needs("links:create"))]) -> Response:
    """The token stands behind a `#`, which browsers send to no server, so that no log holds it. Nothing is stored of a link."""
    parts: Parts = request.app.state.parts
    given = await read_model(request, LinkInput)
    account = account_of(principal, given.account)
    if account is None:
        raise Problem(400, "bad-request", "account is missing: say whose costs the link shows", fields=("account",))
    token, expires_at = await asyncio.to_thread(parts.links.create, principal, account, given.expires_in_s)
    period = f"?period={given.period}" if given.period else ""
    base = (parts.public_url or str(request.base_url)).rstrip("/")
    answer = {"url": f"{base}/{period}#link={token}", "token": token, "expires_at": format_time(expires_at * NS)}
    return Response(msgspec.json.encode(answer), 201, media_type="application/json")


def frame_policy(parts: Parts) -> str:
    """The part of the page's Content-Security-Policy that says who may show it in a frame."""
    return f"frame-ancestors {parts.frame_ancestors}"
