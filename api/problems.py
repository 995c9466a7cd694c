"""Every error as problem details (RFC 9457), with the id of its request, and never with a traceback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..schemas.errors import AccessDenied, BadInput, RatemillError, Unavailable

__all__ = ["Problem", "ProblemDetails", "add_handlers", "documented", "problem_of", "problem_response"]

_log = logging.getLogger("ratemill.api")
MEDIA_TYPE = "application/problem+json"


class ProblemDetails(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Which problem: stable, programs may go by it.", examples=["urn:ratemill:problem:too-large"])
    title: str = Field(description="The status in words.", examples=["Request Entity Too Large"])
    status: int = Field(examples=[413])
    detail: str = Field(description="What is wrong, and what to do.", examples=["the body has more; at most 8,388,608 bytes are read"])
    instance: str = Field(description="Id of the request, as in the header x-request-id and in the log.", examples=["urn:ratemill:request:0b9c"])


class Problem(Exception):
    """An answer that is an error. kind: stable name of the problem; more: members of the answer beside the usual ones.

    fields: parameters that it is about; problem details name them in `detail` only.
    """

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, more: Mapping[str, Any] | None = None,
        fields: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.fields = tuple(fields)
        self.status, self.kind, self.detail = status, kind, detail
        self.headers, self.more = dict(headers or {}), dict(more or {})


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How these errors stand in the OpenAPI document."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}}
        for status in statuses
    }


def problem_response(problem: Problem, request_id: str) -> Response:
    """The answer for a problem."""
    body = {
        "type": f"urn:ratemill:problem:{problem.kind}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": f"urn:ratemill:request:{request_id}",
        **problem.more,
    }
    return Response(msgspec.json.encode(body), problem.status, problem.headers, MEDIA_TYPE)


def add_handlers(app: FastAPI, other_forms: Mapping[str, Callable[[Problem, str], Response]]) -> None:
    """Turn whatever is raised into problem details. other_forms: beginning of a path -> how it is answered there instead."""

    async def answer(request: Request, error: Exception) -> Response:
        request_id: str = request.scope.get("request_id", "")
        problem = problem_of(error)
        if problem.status == 405 and (allowed := _allowed(request)):
            problem.headers = {"allow": allowed}
        if problem.status >= 500:
            unexpected = not isinstance(error, (Problem, RatemillError, HTTPException))
            _log.error("%s %s: %s (request %s)", request.method, request.url.path, error, request_id, exc_info=error if unexpected else None)
        form = next((form for prefix, form in other_forms.items() if request.url.path.startswith(prefix)), problem_response)
        return form(problem, request_id)

    for kind in (Problem, RatemillError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def _allowed(request: Request) -> str:
    """All methods of the path that was asked for; Starlette says those of its first route only."""
    path = getattr(request.scope.get("route"), "path", "")
    return ", ".join(sorted(method.upper() for method in request.app.openapi()["paths"].get(path, ())))


def problem_of(error: Exception) -> Problem:
    """What an error is to the client."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, BadInput):
        return Problem(400, "bad-request", str(error))
    if isinstance(error, (Unavailable, AccessDenied)):
        # What is behind us is named in our log; callers only learn that it will be back.
        return Problem(503, "unavailable", "a service that is needed for this does not answer; try again", headers={"retry-after": "5"})
    if isinstance(error, RequestValidationError):
        said = "; ".join(f"{'.'.join(str(part) for part in e['loc'][1:]) or 'body'}: {e['msg']}" for e in error.errors()[:10])
        fields = [str(e["loc"][-1]) for e in error.errors()[:10]]
        return Problem(400, "bad-request", f"{said}; see the OpenAPI document at /openapi.json", fields=fields)
    if isinstance(error, HTTPException):
        kinds = {404: "not-found", 405: "method-not-allowed"}
        return Problem(error.status_code, kinds.get(error.status_code, "refused"), str(error.detail), headers=error.headers)
    return Problem(500, "internal", "an error of Ratemill itself; its log tells more under the id of this request")
