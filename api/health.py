"""`/livez`, `/readyz`, `/metrics`: for those who run it. They tell nothing about any account, and need no token."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..schemas.errors import RatemillError
from ..sinks.elasticsearch import check
from .parts import Parts
from .pipeline import gauges

__all__ = ["router"]

router = APIRouter(tags=["health"])

_log = logging.getLogger("ratemill.api")
_PATIENCE_S = 4.0


class Readiness(BaseModel):
    """Whether every part answers."""

    ready: bool
    parts: dict[str, str] = Field(description="ok, or what is wrong with it", examples=[{"kafka": "ok", "elasticsearch": "does not answer"}])


@router.get("/livez", operation_id="livez", summary="Whether the process runs.", response_class=PlainTextResponse)
async def livez() -> str:
    """Answers as long as the process can."""
    return "ok\n"


@router.get("/readyz", operation_id="readyz", summary="Whether it can work, and if not, what is missing.", response_model=Readiness,
            responses={503: {"model": Readiness, "description": "A part is missing."}})  # fmt: skip
async def readyz(request: Request) -> Response:
    """Kafka, Elasticsearch and the database, asked at once."""
    parts: Parts = request.app.state.parts

    checks: dict[str, Callable[[], Awaitable[None]]] = {
        "kafka": parts.outbox.check, "elasticsearch": partial(check, parts.elasticsearch), "database": parts.check_database,
    }  # fmt: skip
    said = dict(zip(checks, await asyncio.gather(*(_word(name, ask) for name, ask in checks.items())), strict=True))
    ready = all(word == "ok" for word in said.values())
    return JSONResponse({"ready": ready, "parts": said}, 200 if ready else 503)


async def _word(name: str, ask: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await ask()
    except (RatemillError, TimeoutError) as error:
        _log.warning("not ready: %s: %r", name, error)  # here, and not in the answer: anybody may ask
        return "does not answer"
    return "ok"


@router.get("/metrics", operation_id="metrics", summary="Prometheus metrics of this process, and of the pipeline.", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """In the text format of Prometheus."""
    parts: Parts = request.app.state.parts
    return Response(generate_latest(parts.registry) + gauges(await parts.pipeline()), media_type=CONTENT_TYPE_LATEST)
