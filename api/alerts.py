"""`/v1/alerts`: rules that tell by a webhook when cost or usage reaches a threshold."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from ..schemas.times import NS, format_time
from .access import account_of, needs
from .alerting.rules import MAX_NAME, MAX_THRESHOLDS, MAX_URL, Definition, Rule
from .alerting.store import Alerts as AlertStore
from .alerting.store import Delivery, TooMany
from .bodies import read_model
from .parts import Parts
from .problems import Problem, documented
from .tokens import Principal

__all__ = ["router"]

router = APIRouter(tags=["alerts"])

_MOST = 1_000  # of a page
_AMOUNT: JsonDict = {"pattern": r"^[0-9]+(\.[0-9]+)?$"}
_EXAMPLE = {
    "name": "November is dear", "what": "cost", "currency": "USD", "budget": "2000", "thresholds": ["50%", "100%"],
    "url": "https://hooks.example.com/ratemill",
}  # fmt: skip


class AlertInput(BaseModel):
    """What a rule says. Amounts are exact decimals, as texts."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=MAX_NAME, description="One of the account's rules alone has it.")
    account: str | None = Field(default=None, max_length=1_024, description="Whose costs; a key of an account needs none, and PUT neither.")
    what: Literal["cost", "usage"] = Field(description="cost: in `currency`; usage: the quantity of `sku` in `unit`; of a billing month.")
    thresholds: list[str] = Field(
        min_length=1, max_length=MAX_THRESHOLDS, description="Amounts, or percents of `budget`: each fires once a billing month.",
        examples=[["50%", "80%", "100%"]],
    )  # fmt: skip
    currency: str = Field(default="", pattern="^([A-Z]{3})?$", description="Of a rule about cost.")
    budget: str = Field(default="", max_length=61, description="What the percents are of.")
    sku: str = Field(default="", max_length=1_024, description="Only this SKU.")
    service: str = Field(default="", max_length=1_024, description="Only this service (ServiceName of the line items); of a rule about cost.")
    unit: str = Field(default="", max_length=1_024, description="ConsumedUnit of a rule about usage.")
    url: str = Field(min_length=1, max_length=MAX_URL, description="https address that is told.")


class AlertDelivery(BaseModel):
    """A threshold that was reached, and what came of telling it."""

    id: str = Field(description="The header webhook-id.", examples=["msg_0b9c"])
    revision: int
    period: str = Field(examples=["2026-11"])
    threshold: str = Field(examples=["80%"])
    status: str = Field(description="pending, delivered, failed (given up), or disabled (the receiver answered 410)", examples=["delivered"])
    attempts: int
    fired_at: str
    attempted_at: str | None
    due_at: str | None = Field(description="Of the next try.")
    last_error: str


class Alert(BaseModel):
    """A rule."""

    id: str
    account: str
    name: str
    what: str
    thresholds: list[str]
    currency: str
    budget: str
    sku: str
    service: str
    unit: str
    url: str
    revision: int = Field(description="Grows when what is watched is changed; then every threshold may fire again.")
    created_at: str
    changed_at: str
    disabled_at: str | None = Field(description="Since when nothing fires, because the receiver answered 410. PUT enables it.")


class AlertSecret(BaseModel):
    """A secret, shown this once. The one before signs too for a day."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class AlertMade(Alert, AlertSecret):
    """A new rule, with the secret that its webhooks are signed with."""


class AlertWithDeliveries(Alert):
    """A rule, and its latest 100 firings, the newest first."""

    deliveries: list[AlertDelivery]


class Alerts(BaseModel):
    """A page of rules, ordered by id. next: the cursor of the page behind it, null on the last one."""

    alerts: list[Alert]
    next: str | None


_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": AlertInput.model_json_schema(), "example": _EXAMPLE}}}
}
_WRITES = (400, 401, 403, 408, 409, 413, 415, 503)
RuleId = Annotated[str, Path(pattern="^[a-z2-7]{12}$", description="Of the rule.")]
CanRead = Annotated[Principal, Depends(needs("alerts:read"))]
CanWrite = Annotated[Principal, Depends(needs("alerts:write"))]


@router.get("/v1/alerts", response_model=Alerts, responses=documented(400, 401, 403, 503), operation_id="listAlerts", summary="List alert rules.")
async def list_alerts(
    request: Request,
    principal: CanRead,
    account: Annotated[str | None, Query(max_length=1_024, description="Only this account's. A key of an account needs no such parameter.")] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST, description="Rules of a page.")] = 100,
    cursor: Annotated[str, Query(pattern="^([a-z2-7]{12})?$", description="`next` of the page before.")] = "",
) -> Response:
    """The account's rules, or all of them for an operator."""
    found = await asyncio.to_thread(_alerts(request).list, account_of(principal, account), cursor, limit + 1)
    page = found[:limit]
    return _json({"alerts": [_rule(rule) for rule in page], "next": page[-1].id if len(found) > limit else None})


@router.post("/v1/alerts", status_code=201, response_model=AlertMade, responses=documented(*_WRITES), openapi_extra=_BODY,
             operation_id="createAlert", summary="Make an alert rule.")  # fmt: skip
async def create_alert(request: Request, principal: CanWrite) -> Response:
    """The answer holds the secret, this once: `ratemill watch` signs each webhook with it. When the answer is lost, rotate the secret."""
    given = await read_model(request, AlertInput)
    account = account_of(principal, given.account)
    if account is None:
        raise Problem(400, "bad-request", "account: say whose costs are watched; the key is for all accounts")
    try:
        secret, rule = await asyncio.to_thread(_alerts(request).create, account, given.name, _definition(given), given.url)
    except TooMany as error:
        raise Problem(409, "conflict", str(error)) from None
    return _json({**_rule(rule), "secret": secret}, 201)


@router.get("/v1/alerts/{id}", response_model=AlertWithDeliveries, responses=documented(400, 401, 403, 404, 503), operation_id="getAlert",
            summary="One alert rule, and what came of its firings.")  # fmt: skip
async def get_alert(request: Request, principal: CanRead, id: RuleId) -> Response:
    """Deliveries that were given up, or wait to be tried again, say what was wrong the last time."""
    alerts = _alerts(request)
    rule = await asyncio.to_thread(alerts.get, id, account_of(principal, None))
    if rule is None:
        raise _unknown()
    return _json({**_rule(rule), "deliveries": [_delivery(each) for each in await asyncio.to_thread(alerts.deliveries, rule.id)]})


@router.put("/v1/alerts/{id}", response_model=Alert, responses=documented(*_WRITES, 404), openapi_extra=_BODY, operation_id="changeAlert",
            summary="Replace what an alert rule says.")  # fmt: skip
async def change_alert(request: Request, principal: CanWrite, id: RuleId) -> Response:
    """All of it but the account and the secret. What waits to be delivered goes to the new url. A rule that was disabled is enabled."""
    given = await read_model(request, AlertInput)
    try:
        rule = await asyncio.to_thread(_alerts(request).change, id, account_of(principal, given.account), given.name, _definition(given), given.url)
    except TooMany as error:
        raise Problem(409, "conflict", str(error)) from None
    if rule is None:
        raise _unknown()
    return _json(_rule(rule))


@router.delete("/v1/alerts/{id}", status_code=204, response_class=Response, responses=documented(400, 401, 403, 404, 503),
               operation_id="deleteAlert", summary="Delete an alert rule.")  # fmt: skip
async def delete_alert(request: Request, principal: CanWrite, id: RuleId) -> None:
    """And what is still to be delivered of it."""
    if not await asyncio.to_thread(_alerts(request).delete, id, account_of(principal, None)):
        raise _unknown()


@router.post("/v1/alerts/{id}/secret", response_model=AlertSecret, responses=documented(400, 401, 403, 404, 503),
             operation_id="rotateAlertSecret", summary="Give an alert rule a new secret.")  # fmt: skip
async def rotate_secret(request: Request, principal: CanWrite, id: RuleId) -> Response:
    """For a day webhooks have two signatures, of the new secret and of the one before; then of the new one alone."""
    secret = await asyncio.to_thread(_alerts(request).rotate, id, account_of(principal, None))
    if secret is None:
        raise _unknown()
    return _json({"secret": secret})


def _alerts(request: Request) -> AlertStore:
    parts: Parts = request.app.state.parts
    return parts.alerts


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _unknown() -> Problem:
    return Problem(404, "not-found", "there is no such alert rule")


def _definition(given: AlertInput) -> Definition:
    return Definition(given.what, tuple(given.thresholds), given.currency, given.budget, given.sku, given.service, given.unit)


def _rule(rule: Rule) -> dict[str, Any]:
    definition = {name: getattr(rule.definition, name) for name in Definition.__struct_fields__}
    times = {name: _time(getattr(rule, name)) for name in ("created_at", "changed_at", "disabled_at")}
    return {"id": rule.id, "account": rule.account, "name": rule.name, **definition, "url": rule.url, "revision": rule.revision, **times}


def _delivery(delivery: Delivery) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(delivery)
    return found | {name: _time(found[name]) for name in ("fired_at", "attempted_at", "due_at")}


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else format_time(seconds * NS)
