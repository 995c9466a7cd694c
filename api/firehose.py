"""`POST /v1/firehose/cloudwatch`: CloudWatch metric streams, delivered by Amazon Data Firehose to an HTTP endpoint.

By Amazon's "HTTP endpoint delivery request and response specifications": only 200 with the request's own id is a success; everything else Firehose
sends again, and in the end puts into its S3 bucket. The key is a key of ours with the scope events:write.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ..schemas.errors import UNREADABLE, RatemillError
from .access import principal_of, with_scope
from .bodies import read_body, unpack
from .parts import Parts
from .problems import Problem, problem_of
from .pushed import store

__all__ = ["router"]

router = APIRouter(tags=["usage"])

_log = logging.getLogger("ratemill.api")
_MOST_OF_A_MESSAGE = 8_192  # characters of errorMessage


class FirehoseAnswer(BaseModel):
    """What Firehose is answered."""

    requestId: str = Field(description="As in the request.", examples=["ed4acda5-034f-9f42-bba1-f29aea6d7d8f"])
    timestamp: int = Field(description="Milliseconds since 1970.", examples=[1_732_700_000_000])
    errorMessage: str | None = Field(default=None, description="Why it was not a success.")


class _Record(msgspec.Struct):
    data: str


class _Delivery(msgspec.Struct):
    requestId: str
    timestamp: int
    records: list[_Record]


_decode = msgspec.json.Decoder(_Delivery).decode
_STREAM = {
    "metric_stream_name": "all", "account_id": "123456789012", "region": "us-east-2", "namespace": "AWS/EC2", "metric_name": "NetworkOut",
    "dimensions": {"InstanceId": "i-1"}, "timestamp": 1_732_700_000_000, "value": {"count": 1.0, "sum": 20.0}, "unit": "Bytes",
}  # fmt: skip
EXAMPLE = {
    "requestId": "ed4acda5-034f-9f42-bba1-f29aea6d7d8f", "timestamp": 1_732_700_000_000,
    "records": [{"data": base64.b64encode(json.dumps(_STREAM).encode() + b"\n").decode()}],
}  # fmt: skip
_SCHEMA = {
    "type": "object", "required": ["requestId", "timestamp", "records"],
    "properties": {
        "requestId": {"type": "string"}, "timestamp": {"type": "integer"},
        "records": {"type": "array", "items": {"type": "object", "required": ["data"], "properties": {"data": {"type": "string", "format": "byte"}}}},
    },
}  # fmt: skip
_WHY = {
    400: "The body is no delivery.", 401: "No key, or one that is not valid.", 403: "The key lacks events:write, or is for another account.",
    408: "The body came too slowly.", 413: "The body has too many bytes or events: make the buffer of the stream smaller.",
    415: "The content encoding is not known.", 429: "Too much is under way.", 500: "An error of Ratemill itself.",
    503: "Kafka has not taken all of it.",
}  # fmt: skip
_RESPONSES: dict[int | str, dict[str, Any]] = {status: {"model": FirehoseAnswer, "description": why} for status, why in _WHY.items()}


@router.post(
    "/v1/firehose/cloudwatch",
    response_model=FirehoseAnswer,
    responses=_RESPONSES,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA, "example": EXAMPLE}}}},
    operation_id="postFirehoseCloudwatch",
    summary="Take a CloudWatch metric stream from Amazon Data Firehose.",
)
async def post_firehose(
    request: Request,
    x_amz_firehose_access_key: Annotated[str, Header(description="The access key of the stream: a key with events:write.")] = "",
    x_amz_firehose_request_id: Annotated[str, Header(description="The same each time a delivery is tried.")] = "",
) -> Response:
    """200: all of it is in Kafka, on all replicas. Metrics that cannot be counted are in the dead letters, with the reason.

    A delivery that comes again has the same metrics, so it counts once.
    """
    parts: Parts = request.app.state.parts
    request_id = x_amz_firehose_request_id
    try:
        principal = with_scope("events:write", await principal_of(parts, x_amz_firehose_access_key))
        with parts.outbox.room() as room:
            delivery = await _read(request, parts, room)
            request_id = request_id or delivery.requestId
            if delivery.requestId != request_id:
                raise Problem(400, "bad-request", "requestId of the body is another one than the header x-amz-firehose-request-id says")
            if documents := await run_in_threadpool(_documents, delivery):
                await store(parts, documents, "aws-cloudwatch", principal)
    except (Problem, RatemillError) as error:
        problem = problem_of(error)
        if problem.status >= 500:
            _log.error("firehose delivery %s: %s", request_id, problem.detail)
        return _answer(parts, request_id, problem.status, problem.detail, problem.headers)
    return _answer(parts, request_id, 200)


async def _read(request: Request, parts: Parts, room: Callable[[int], None]) -> _Delivery:
    sent = await read_body(request.stream(), request.headers.get("content-length"), parts.max_body_bytes, room)
    body = await run_in_threadpool(unpack, sent, request.headers.get("content-encoding", ""), parts.max_body_bytes)
    room(len(body))
    try:
        return _decode(body)
    except UNREADABLE as error:
        raise Problem(400, "bad-request", f"the body is no delivery of Firehose: {' '.join(str(error).split())}") from None


def _documents(delivery: _Delivery) -> list[bytes]:
    """The lines of all records: a record of a metric stream holds many metrics, one a line."""
    found: list[bytes] = []
    for number, record in enumerate(delivery.records):
        try:
            data = base64.b64decode(record.data, validate=True)
        except (binascii.Error, ValueError):
            raise Problem(400, "bad-request", f"data of record {number} is not base64") from None
        found += [line for line in data.splitlines() if line.strip()]
    return found


def _answer(parts: Parts, request_id: str, status: int, message: str = "", headers: dict[str, str] | None = None) -> Response:
    said: dict[str, Any] = {"requestId": request_id, "timestamp": parts.now_ns() // 1_000_000}
    if message:
        said["errorMessage"] = message[:_MOST_OF_A_MESSAGE]
    return Response(msgspec.json.encode(said), status, headers, "application/json")
