"""The routes, under the paths that clients of Elastic Cloud's billing API ask for. The organization is the billing account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ...schemas.errors import BadInput
from ...schemas.times import parse_time
from ...sinks.costs import CostRow, costs
from ...sinks.line_items import read_page
from ..access import account_of
from ..parts import Parts
from ..problems import Problem
from ..questions import MOST_ROWS, Reader
from ..tokens import Principal
from .errors import errors_documented
from .models import Charts, InstanceCosts, ItemCosts
from .shape import BY, CHART_BY, WHOLE, Bucketing, GroupBy, Json, chart, instances, products, resource_of
from .window import Window, window_of

__all__ = ["PREFIX", "router"]

PREFIX = "/api/v2/billing/"
_MS = 1_000_000  # nanoseconds

_ERRORS = errors_documented(400, 401, 403, 404, 500)
router = APIRouter(prefix=f"{PREFIX}organizations/{{organization_id}}", tags=["elastic-view"], responses=_ERRORS)

Organization = Annotated[str, Path(max_length=1_024, description="The billing account.", examples=["acme"])]
InstanceId = Annotated[str, Path(max_length=1_024, description=f"The resource; `{WHOLE}`: line items without one.")]
Since = Annotated[str, Query(alias="from", max_length=40, description="Charge periods that begin from here on,", examples=["2026-11-01T00:00:00Z"])]
Until = Annotated[str, Query(alias="to", max_length=40, description="and before this.", examples=["2026-12-01T00:00:00Z"])]
Buckets = Annotated[Bucketing, Query(description="Days or calendar months, in UTC.")]


@router.get("/costs/instances", response_model=InstanceCosts, operation_id="getCostsByInstancesV2", summary="Costs by resource.")
async def get_costs_by_instances(
    request: Request, principal: Reader, organization_id: Organization, since: Since, until: Until,
    include_names: Annotated[bool, Query(description="Makes no difference: the name of a resource is its id.")] = False,
) -> Response:  # fmt: skip
    """What each resource costs whose charge periods begin in the window."""
    return _answer(instances(await _rows(request, principal, organization_id, window_of(since, until), BY)))


@router.get("/costs/items", response_model=ItemCosts, operation_id="getCostsByItemsV2", summary="Costs by product.")
async def get_costs_by_items(
    request: Request, principal: Reader, organization_id: Organization, since: Since, until: Until,
    serverless_group_by: Annotated[GroupBy, Query(description="product: by service; product_family: by service category.")] = "product_family",
) -> Response:  # fmt: skip
    """What each product costs, over all resources."""
    rows = await _rows(request, principal, organization_id, window_of(since, until), BY[1:])
    return _answer(products(rows, serverless_group_by))


@router.get(
    "/costs/instances/{instance_id}/items", response_model=ItemCosts, operation_id="getItemizedCostsByInstanceV2", summary="Costs of a resource."
)
async def get_itemized_costs_by_instance(
    request: Request, principal: Reader, organization_id: Organization, instance_id: InstanceId, since: Since, until: Until
) -> Response:
    """What each product costs that one resource uses."""
    return _answer(products(await _rows(request, principal, organization_id, window_of(since, until), BY, instance_id)))


@router.get("/charts", response_model=Charts, operation_id="getChartsV2", summary="Costs over time.")
async def get_charts(
    request: Request, principal: Reader, organization_id: Organization, since: Since, until: Until, bucketing_strategy: Buckets = "daily"
) -> Response:
    """What each resource costs by day or month."""
    rows = await _rows(request, principal, organization_id, window_of(since, until), CHART_BY)
    return _answer(chart(rows, bucketing_strategy, False, _milliseconds))


@router.get("/instances/{instance_id}/charts", response_model=Charts, operation_id="getChartsByInstanceV2", summary="Costs of a resource over time.")
async def get_charts_by_instance(
    request: Request, principal: Reader, organization_id: Organization, instance_id: InstanceId, since: Since, until: Until,
    bucketing_strategy: Buckets = "daily",
    instance_type: Annotated[Literal["all", "deployments", "projects"], Query(description="Makes no difference.")] = "all",
) -> Response:  # fmt: skip
    """What each SKU costs by day or month that one resource uses."""
    rows = await _rows(request, principal, organization_id, window_of(since, until), CHART_BY, instance_id)
    return _answer(chart(rows, bucketing_strategy, True, _milliseconds))


async def _rows(
    request: Request, principal: Principal, organization: str, window: Window, by: Sequence[str], instance: str | None = None
) -> list[CostRow]:
    """Exact totals within the window, all of one currency. Raises Problem: 403 for another's organization, 404, 400."""
    parts: Parts = request.app.state.parts
    account = account_of(principal, organization)
    where = {"resource": instance} if instance not in (None, WHOLE) else {}
    try:
        rows = await costs(
            parts.elasticsearch, parts.index_prefix, account=account, by=by, within=window, where=where, spans="price" in by, most_rows=MOST_ROWS
        )
    except BadInput:
        raise Problem(400, "costs.invalid_date_range", "the window holds too much; ask for a shorter one", fields=("from", "to")) from None
    if instance == WHOLE:
        rows = [row for row in rows if resource_of(row) == WHOLE]
    if len(currencies := {row.currency for row in rows}) > 1:
        said = f"the window holds costs in {' and '.join(sorted(currencies))}, which are never added; ask for one with one currency"
        raise Problem(400, "costs.invalid_date_range", said, fields=("from", "to"))
    if not rows:
        await _known(parts, principal, organization, instance)
    return rows


async def _known(parts: Parts, principal: Principal, organization: str, instance: str | None) -> None:
    """An empty window is an answer; an organization or an instance that never had a line item is none."""
    if instance is None and principal.account is not None:
        return  # the key is for it
    where = {"resource": instance} if instance not in (None, WHOLE) else {}
    page = await read_page(parts.elasticsearch, parts.index_prefix, account=organization, period=None, where=where, size=1, after=None)
    if page.items:
        return
    if where:
        raise Problem(404, "billing_service.instance_not_found", "the instance has no line items")
    raise Problem(404, "organization.not_found", "the organization has no line items")


def _milliseconds(time: str) -> int:
    return parse_time(time) // _MS


def _answer(content: Json) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
