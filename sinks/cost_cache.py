"""Costs of large accounts, remembered for as long as their line items stay the same.

A line item never leaves its account and billing month, and each revision of it is a greater number than the one before. So when there
are as many of them as before, and their revisions add up to the same, not one has changed. To ask that takes Elasticsearch a
fraction of what adding up takes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, NamedTuple

from elasticsearch import AsyncElasticsearch

from .costs import CostRow, Reader, costs
from .dimensions import Where, Within, filters_of
from .limbs import BadAmount, exact_integer
from .templates import Names

__all__ = ["CostCache"]

_Stamp = tuple[int, int]  # number of line items, withdrawn ones too, and the sum of their revisions


class _Known(NamedTuple):
    """stamp: from before the rows were read; None: none was asked for yet."""

    stamp: _Stamp | None
    rows: list[CostRow]


class CostCache:
    """Answers of `costs`. worth: line items of an answer from which on it is kept. most_rows: of all answers that are kept."""

    worth: ClassVar[int] = 50_000
    most_rows: ClassVar[int] = 100_000

    def __init__(self) -> None:
        self._known: dict[Hashable, _Known] = {}  # the one that was not asked for longest is the first

    async def costs(
        self, client: AsyncElasticsearch, prefix: str, *, account: str | None, by: Sequence[str], period: str | None, where: Where | None = None,
        within: Within = (None, None), most_rows: int = 0,
    ) -> list[CostRow]:  # fmt: skip
        """The same as `costs` gives, and raises."""
        chosen = tuple((name, value if isinstance(value, str) else tuple(value)) for name, value in (where or {}).items())
        key = prefix, account, tuple(by), period, chosen, within
        known = self._known.pop(key, None)
        # Before the rows are read: what changes meanwhile makes the next stamp another one, whether the rows have it or not.
        stamp = None if known is None else await _stamp(client, prefix, account, period)
        if known is None or stamp is None or known.stamp != stamp:
            rows = await costs(client, prefix, account=account, by=by, period=period, where=where, within=within, most_rows=most_rows)
            known = _Known(stamp, rows)
        if sum(row.line_items for row in known.rows) >= self.worth:
            self._keep(key, known)
        return list(known.rows)

    def _keep(self, key: Hashable, known: _Known) -> None:
        self._known[key] = known
        while sum(len(each.rows) for each in self._known.values()) > self.most_rows:
            del self._known[next(iter(self._known))]


async def _stamp(client: AsyncElasticsearch, prefix: str, account: str | None, period: str | None) -> _Stamp | None:
    """Of an account and month, as the copies of the shards tell it that the rows come from; None where a double is inexact. Raises Unavailable."""
    query: dict[str, Any] = {"bool": {"filter": filters_of(account, period)}}
    aggregations = {"revisions": {"sum": {"field": "x_Revision"}}}
    answer = await Reader(client, Names(prefix).alias, account).search(size=0, query=query, aggs=aggregations, track_total_hits=True)
    try:
        return answer["hits"]["total"]["value"], exact_integer(answer.get("aggregations", {}).get("revisions", {}).get("value"))
    except BadAmount:
        return None
