"""How many line items wait for a price, and since when."""

from __future__ import annotations

from typing import NamedTuple

from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from ..schemas.errors import Unavailable
from .bulk import describe
from .costs import UNPRICED
from .templates import Names

__all__ = ["Unpriced", "read_unpriced"]


class Unpriced(NamedTuple):
    """How many, and when the charge period of the oldest began (milliseconds since 1970; None: there is none)."""

    line_items: int
    oldest_ms: int | None


async def read_unpriced(client: AsyncElasticsearch, prefix: str) -> Unpriced:
    """Of all accounts and months, without what is withdrawn. Raises Unavailable."""
    try:
        answer = await client.search(
            index=Names(prefix).alias, size=0, query=UNPRICED, aggs={"oldest": {"min": {"field": "ChargePeriodStart"}}}, track_total_hits=True,
            ignore_unavailable=True, allow_partial_search_results=False,
        )  # fmt: skip
    except (ApiError, TransportError, OSError) as error:
        raise Unavailable(f"Elasticsearch cannot count line items without a price: {describe(error)[1]}") from error
    if answer.get("timed_out"):
        raise Unavailable("Elasticsearch did not count line items without a price in time; try again")
    count = int(answer["hits"]["total"]["value"])
    oldest = answer.get("aggregations", {}).get("oldest", {}).get("value")
    return Unpriced(count, int(oldest) if count and oldest is not None else None)
