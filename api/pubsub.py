"""`POST /v1/pubsub`: messages that Google Cloud Pub/Sub pushes, by a subscription with authentication.

By Google's "Authentication for push subscriptions" and "Receive messages from push subscriptions": any of 102, 200, 201, 202 and 204 acknowledges a
message, everything else lets Pub/Sub send it again.
"""

from __future__ import annotations

import base64
import json
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Request
from starlette.responses import Response

from ..schemas.errors import UNREADABLE
from .bodies import read_body
from .parts import Parts
from .problems import Problem, documented
from .pushed import store
from .tokens import Principal

__all__ = ["router"]

router = APIRouter(tags=["usage"])

_PUSHER = Principal("", None, frozenset({"events:write"}), "pubsub")
_DATA = {"account": "acme", "sku": "api.calls", "quantity": "3", "unit": "calls", "id": "b3f1", "time": "2026-11-27T09:00:00Z"}
EXAMPLE = {
    "message": {
        "messageId": "2070443601311540", "publishTime": "2026-11-27T09:00:01.749Z", "data": base64.b64encode(json.dumps(_DATA).encode()).decode(),
    },
    "subscription": "projects/p/subscriptions/usage",
}  # fmt: skip
_SCHEMA = {
    "type": "object", "required": ["message"],
    "properties": {
        "subscription": {"type": "string"},
        "message": {
            "type": "object",
            "properties": {
                "data": {"type": "string", "format": "byte"}, "messageId": {"type": "string"},
                "publishTime": {"type": "string", "format": "date-time"},
                "orderingKey": {"type": "string"}, "attributes": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
    },
}  # fmt: skip


@router.post(
    "/v1/pubsub",
    status_code=204,
    response_class=Response,
    responses=documented(400, 401, 408, 413, 429, 503),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA, "example": EXAMPLE}}}},
    operation_id="postPubsub",
    summary="Take a message that Google Cloud Pub/Sub pushes.",
)
async def post_pubsub(
    request: Request, authorization: Annotated[str, Header(description="Bearer, and a token that Google signed for the subscription.")] = ""
) -> Response:
    """204: what the message holds is in Kafka, on all replicas. What cannot be counted is in the dead letters, with the reason.

    A message that comes again has the same id, so it counts once. Needs `api.pubsub_audience` and `api.pubsub_email`.
    """
    parts: Parts = request.app.state.parts
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem(401, "no-token", "push subscriptions send a token: enable authentication of this one")
    if parts.google is None:
        raise Problem(401, "bad-token", "no push subscription was agreed on here: set api.pubsub_audience and api.pubsub_email")
    if why := await parts.google.problem(token.strip()):
        raise Problem(401, "bad-token", f"the token is not valid: {why}")
    with parts.outbox.room() as room:
        body = await read_body(request.stream(), request.headers.get("content-length"), parts.max_body_bytes, room)
        room(len(body))
        try:
            document = msgspec.json.format(body, indent=-1)  # on one line
        except UNREADABLE:
            raise Problem(400, "bad-request", "the body is not JSON; Pub/Sub pushes messages wrapped: turn payload unwrapping off") from None
        await store(parts, [document], "gcp-pubsub", _PUSHER)
    return Response(status_code=204)
