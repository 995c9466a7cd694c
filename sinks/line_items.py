"""Line items read back from Elasticsearch page by page, in an order that stays: by charge period, then by id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from ..schemas.errors import BadInput, Unavailable
from .bulk import describe
from .costs import DIMENSIONS, filters_of
from .templates import Names

__all__ = ["Page", "read_line_item", "read_page"]

_FOUND = "Elasticsearch cannot read line items"


class Page(NamedTuple):
    """Some line items, as they were written, and where the next page begins (None: there is none)."""

    items: list[dict[str, Any]]
    after: list[Any] | None


async def read_page(
    client: AsyncElasticsearch, prefix: str, *, account: str | None, period: str | None, where: Mapping[str, str], size: int, after: list[Any] | None
) -> Page:  # fmt: skip
    """The next `size` line items of an account (None: all) and billing month (None: all), withdrawn ones left out.

    where: value of a dimension, such as {"sku": "egress"}. after: of the page before. A line item that is restated meanwhile keeps its
    place; one that is new may come to stand before the place. Raises BadInput, Unavailable.
    """
    if unknown := [name for name in where if name not in DIMENSIONS]:
        raise BadInput(f"unknown dimension {', '.join(map(repr, unknown))}; use {', '.join(DIMENSIONS)}")
    query = {"bool": {"filter": filters_of(account, period, where), "must_not": [{"term": {"x_Withdrawn": True}}]}}
    order: list[Any] = [{"ChargePeriodStart": {"order": "asc", "format": "strict_date_time_no_millis"}}, {"x_LineItemId": "asc"}]
    try:
        answer = await client.search(
            index=Names(prefix).alias, query=query, sort=order, size=size + 1, source_excludes=["x_Limbs"], track_total_hits=False,
            ignore_unavailable=True, allow_partial_search_results=False, search_after=after,
        )  # fmt: skip
    except (ApiError, TransportError, OSError) as error:
        raise Unavailable(f"{_FOUND}: {describe(error)[1]}") from error
    if answer.get("timed_out"):
        raise Unavailable(f"{_FOUND} in time; ask for less")
    hits = answer["hits"]["hits"]
    return Page([hit["_source"] for hit in hits[:size]], hits[size - 1]["sort"] if len(hits) > size else None)


async def read_line_item(client: AsyncElasticsearch, prefix: str, id: str, account: str | None) -> dict[str, Any] | None:
    """The line item of this id, if it is one of the account (None: of any); withdrawn ones too. Raises Unavailable."""
    query = {"bool": {"filter": [{"ids": {"values": [id]}}, *filters_of(account, None, {})]}}
    try:
        answer = await client.search(
            index=Names(prefix).alias, query=query, size=1, source_excludes=["x_Limbs"], ignore_unavailable=True, allow_partial_search_results=False
        )
    except (ApiError, TransportError, OSError) as error:
        raise Unavailable(f"{_FOUND}: {describe(error)[1]}") from error
    hits = answer["hits"]["hits"]
    return hits[0]["_source"] if hits else None
