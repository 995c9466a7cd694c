"""Line items read back from Elasticsearch page by page, in an order that stays: by charge period, then by id."""

from __future__ import annotations

from typing import Any, NamedTuple

from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from ..schemas.errors import Unavailable
from .bulk import describe
from .costs import check_whole
from .dimensions import Where, Within, filters_of
from .templates import Names

__all__ = ["Page", "read_line_item", "read_page"]

class Page(NamedTuple):
    """Some line items, as they were written, and where the next page begins (None: there is none)."""

    items: list[dict[str, Any]]
    after: list[Any] | None


async def read_page(
    client: AsyncElasticsearch, prefix: str, *, account: str | None, period: str | None, where: Where, size: int, after: list[Any] | None,
    within: Within = (None, None),
) -> Page:  # fmt: skip
    """The next `size` line items that filters_of chooses, withdrawn ones left out.

    after: of the page before. A line item that is restated meanwhile keeps its place; one that is new may come to stand before the place.
    Raises BadInput, Unavailable.
    """
    query = {"bool": {"filter": filters_of(account, period, where, within), "must_not": [{"term": {"x_Withdrawn": True}}]}}
    order: list[Any] = [{"ChargePeriodStart": {"order": "asc", "format": "strict_date_time_no_millis"}}, {"x_LineItemId": "asc"}]
    hits = await _search(client, prefix, query=query, sort=order, size=size + 1, search_after=after)
    return Page([hit["_source"] for hit in hits[:size]], hits[size - 1]["sort"] if len(hits) > size else None)


async def read_line_item(client: AsyncElasticsearch, prefix: str, id: str, account: str | None) -> dict[str, Any] | None:
    """The line item of this id, if it is one of the account (None: of any); withdrawn ones too. Raises Unavailable."""
    query = {"bool": {"filter": [{"ids": {"values": [id]}}, *filters_of(account, None)]}}
    hits = await _search(client, prefix, query=query, size=1)
    return hits[0]["_source"] if hits else None


async def _search(client: AsyncElasticsearch, prefix: str, **request: Any) -> list[dict[str, Any]]:
    try:
        answer = await client.search(
            index=Names(prefix).alias, source_excludes=["x_Limbs"], track_total_hits=False, ignore_unavailable=True,
            allow_partial_search_results=False, **request,
        )  # fmt: skip
    except (ApiError, TransportError, OSError) as error:
        raise Unavailable(f"Elasticsearch cannot read line items: {describe(error)[1]}") from error
    check_whole(answer.body)
    hits: list[dict[str, Any]] = answer["hits"]["hits"]
    return hits
