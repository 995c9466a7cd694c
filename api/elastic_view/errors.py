"""Errors as clients of the Billing Costs Analysis API know them: a list of codes and messages, and the codes in a header."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from pydantic import BaseModel, Field
from starlette.responses import Response

from ..problems import Problem

__all__ = ["CODES", "error_response", "errors_documented"]

CODES = "x-cloud-error-codes"
_RANGE = {"from", "to"}


class ElasticError(BaseModel):
    """One error."""

    code: str = Field(examples=["costs.invalid_date_range"])
    message: str = Field(examples=["from must be before to"])
    fields: list[str] = Field(description="Parameters that it is about.", examples=[["from", "to"]])


class ElasticErrors(BaseModel):
    """Why a request was not answered."""

    errors: list[ElasticError]


_MEANINGS = {
    400: "The date range, or another parameter, is invalid: `costs.invalid_date_range`, `request.bad_request`.",
    401: "No key, or one that is not valid: `root.unauthenticated`.",
    403: "The key is not for this organization, or lacks a scope: `organization.invalid_access`.",
    404: "`organization.not_found`, `billing_service.instance_not_found`.",
    429: "`billing_service.rate_limited`; again after `retry-after` seconds.",
    500: "`billing_service.failed_request`; again after `retry-after` seconds, where the answer has it.",
}


def errors_documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How these errors stand in the OpenAPI document."""
    return {
        status: {"model": ElasticErrors, "description": _MEANINGS[status], "headers": {CODES: {"schema": {"type": "string"}}}} for status in statuses
    }


def error_response(problem: Problem, _request_id: str) -> Response:
    """The answer for a problem. What is behind us and does not answer is a 500 to these clients, which know no 503."""
    code, status = _code(problem), min(problem.status, 500)
    body = {"errors": [{"code": code, "message": problem.detail, "fields": list(problem.fields)}]}
    return Response(msgspec.json.encode(body), status, {**problem.headers, CODES: code}, "application/json")


def _code(problem: Problem) -> str:
    if "." in problem.kind:
        return problem.kind
    if problem.status >= 500:
        return "billing_service.failed_request"
    if problem.status == 400 and problem.fields and _RANGE.issuperset(problem.fields):
        return "costs.invalid_date_range"
    known = {401: "root.unauthenticated", 403: "organization.invalid_access", 429: "billing_service.rate_limited"}
    return known.get(problem.status) or "request." + re.sub("[^a-z]", "_", problem.kind)
