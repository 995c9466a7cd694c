"""Exact totals, counts and line items read back from Elasticsearch.

A total is read as sums of integer limbs (limbs.py) per group of a composite aggregation: by one search, which Elasticsearch answers
from its cache while nothing changes, or page by page, all of one point in time. A group with more line items than a limb sum
stays exact for is read again in finer groups. Nothing is ever partial: a shard that does not answer makes the whole read fail.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from ..schemas.errors import BadInput, RatemillError, Unavailable
from .bulk import describe
from .dimensions import INSTANT, Where, Within, check_dimensions, equals, filters_of, source_of
from .limbs import LIMBS, MAX_ADDENDS, exact_integer, join
from .templates import Names

__all__ = ["UNPRICED", "CostRow", "Reader", "check_whole", "costs", "count_line_items", "fetch_line_items", "iter_costs"]

Limb = tuple[str, str]  # amount, name of the limb

_PIT_KEEP_ALIVE = "2m"  # between two pages, not for the whole read

# Line items that have no price and count.
UNPRICED: dict[str, Any] = {"bool": {"filter": [{"term": {"x_Unpriced": True}}], "must_not": [{"term": {"x_Withdrawn": True}}]}}

# Limbs that nearly all amounts get by with; any other is looked for, and costs nothing where no line item has it.
_USUAL_LIMBS = ("e0", "m9", "m18")
# What a group that is too large for exact sums is split by, in this order.
_SPLIT_BY = ("day", "sku", "hour", "resource", "component")


class CostRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """Total of one group in one currency. Amounts are exact plain decimals.

    `group` maps each asked dimension to its value (None: the line items have none). `line_items` leaves out withdrawn ones.
    Quantities are given only where the group has one unit: `pricing_quantity` when "unit" is asked for, `consumed_quantity`
    when "consumed_unit" is. `first` and `last`, when asked for: where its first charge period begins, and its last one ends.
    """

    group: dict[str, str | None]
    currency: str
    billed_cost: str
    effective_cost: str
    line_items: int
    unpriced: int
    pricing_quantity: str | None = None
    consumed_quantity: str | None = None
    first: str | None = None
    last: str | None = None


@dataclass
class _Sums:
    """What one group adds up to, in Python integers."""

    line_items: int = 0
    unpriced: int = 0
    limbs: dict[tuple[str, str], int] = field(default_factory=dict)
    first: str | None = None
    last: str | None = None

    def add(self, other: _Sums) -> None:
        self.first = min((at for at in (self.first, other.first) if at is not None), default=None)
        self.last = max((at for at in (self.last, other.last) if at is not None), default=None)
        self.line_items += other.line_items
        self.unpriced += other.unpriced
        for key, value in other.limbs.items():
            self.limbs[key] = self.limbs.get(key, 0) + value

    def total(self, amount: str) -> str:
        return join((limb, value) for (name, limb), value in self.limbs.items() if name == amount)


_Group = tuple[dict[str, str | None], _Sums]


async def costs(
    client: AsyncElasticsearch,
    prefix: str = "ratemill",
    *,
    account: str | None = None,
    by: Sequence[str] = ("account", "sku"),
    period: str | None = None,
    where: Where | None = None,
    within: Within = (None, None),
    spans: bool = False,
    page_size: int = 1000,
    max_addends: int = MAX_ADDENDS,
    most_rows: int = 0,
) -> list[CostRow]:
    """All rows of `iter_costs`, ordered by currency and group. most_rows: raise BadInput beyond so many (0: any number)."""
    rows: list[CostRow] = []
    async for row in iter_costs(
        client, prefix, account=account, by=by, period=period, where=where, within=within, spans=spans, page_size=page_size,
        max_addends=max_addends,
    ):  # fmt: skip
        rows.append(row)
        if most_rows and len(rows) > most_rows:
            raise BadInput(f"there are more than {most_rows:,} groups by {', '.join(by)}; group by less, or ask for one account or period")
    return sorted(rows, key=lambda row: (row.currency, [(value is None, value or "") for value in row.group.values()]))


async def iter_costs(
    client: AsyncElasticsearch,
    prefix: str = "ratemill",
    *,
    account: str | None = None,
    by: Sequence[str] = ("account", "sku"),
    period: str | None = None,
    where: Where | None = None,
    within: Within = (None, None),
    spans: bool = False,
    page_size: int = 1000,
    max_addends: int = MAX_ADDENDS,
) -> AsyncIterator[CostRow]:
    """Exact totals per group and currency, of one point in time, holding one page of groups in memory.

    `by` names DIMENSIONS; `period` is a billing period "YYYY-MM"; `where` and `within` choose as in filters_of. `spans`: give `first` and
    `last` of each group. Groups of withdrawn line items alone are left out. Raises BadInput for what cannot be asked, Unavailable when
    Elasticsearch cannot give the whole answer.
    """
    by = tuple(dict.fromkeys(by))
    check_dimensions(by)
    wanted = {"billed", "effective"} | {amount for amount, unit in (("pricing", "unit"), ("consumed", "consumed_unit")) if unit in by}
    filters = filters_of(account, period, where, within)
    keys = tuple(dict.fromkeys((*by, "currency")))
    sought = _Sought([(amount, limb) for amount in sorted(wanted) for limb in _USUAL_LIMBS], spans, page_size, max_addends)
    async with AsyncExitStack() as stack:
        found = await _all_groups(Reader(client, Names(prefix).alias, account), filters, keys, sought)
        if found is None:
            reader = await stack.enter_async_context(_reading(client, Names(prefix), account))
            groups = _groups(reader, filters, keys, sought._replace(limbs=await reader.limbs_in_use(wanted, filters)))
        else:
            groups = _each(found)
        async for key, sums in groups:
            if not sums.line_items and not any(sums.limbs.values()):
                continue
            yield CostRow(
                group={name: key[name] for name in by},
                currency=key["currency"] or "",
                billed_cost=sums.total("billed"),
                effective_cost=sums.total("effective"),
                line_items=sums.line_items,
                unpriced=sums.unpriced,
                pricing_quantity=sums.total("pricing") if "unit" in by else None,
                consumed_quantity=sums.total("consumed") if "consumed_unit" in by else None,
                first=sums.first,
                last=sums.last,
            )


async def count_line_items(
    client: AsyncElasticsearch, prefix: str = "ratemill", *, account: str | None = None, period: str | None = None, withdrawn: bool = True
) -> int:
    """How many line items the index shows (one per id), with or without the withdrawn ones. Raises Unavailable."""
    query: dict[str, Any] = {"bool": {"filter": filters_of(account, period)}}
    if not withdrawn:
        query["bool"]["must_not"] = [{"term": {"x_Withdrawn": True}}]
    try:
        answer = await client.count(index=Names(prefix).alias, query=query, ignore_unavailable=True)
    except (ApiError, TransportError, OSError) as error:
        raise Unavailable(f"Elasticsearch cannot count line items: {describe(error)[1]}") from error
    check_whole(answer.body)
    return int(answer["count"])


async def fetch_line_items(
    client: AsyncElasticsearch,
    prefix: str = "ratemill",
    *,
    account: str | None = None,
    period: str | None = None,
    page_size: int = 1000,
) -> AsyncIterator[dict[str, Any]]:
    """Every line item as it was written (its JSON fields, without the limbs), of one point in time, in no order.

    Withdrawn ones are included: reconciliation compares revisions. Raises Unavailable.
    """
    query = {"bool": {"filter": filters_of(account, period)}}
    async with _reading(client, Names(prefix), account) as reader:
        after: list[Any] | None = None
        while True:
            answer = await reader.search(
                size=page_size, query=query, sort=[{"_shard_doc": "asc"}], source_excludes=["x_Limbs"], **({"search_after": after} if after else {})
            )
            hits = answer["hits"]["hits"]
            for hit in hits:
                yield hit["_source"]
            if len(hits) < page_size:
                return
            after = hits[-1]["sort"]


class Reader:
    """Searches: of one point in time, or of whatever is the newest.

    Those about one account (None: all) are answered by the same copies of the shards: of two in a row, the second one is never of an older time.
    """

    def __init__(self, client: AsyncElasticsearch, index: str, account: str | None, pit: str = "") -> None:
        self.client, self.index, self.account = client, index, account
        self.pit = pit

    async def search(self, **request: Any) -> Any:
        if self.pit:
            request["pit"] = {"id": self.pit, "keep_alive": _PIT_KEEP_ALIVE}
        else:  # no line items yet is an empty answer, not an error
            request |= {"index": self.index, "ignore_unavailable": True, "preference": _copies(self.account)}
        try:
            answer = await self.client.search(allow_partial_search_results=False, **{"track_total_hits": False, **request})
        except (ApiError, TransportError, OSError) as error:
            raise Unavailable(f"Elasticsearch cannot read line items: {describe(error)[1]}") from error
        check_whole(answer.body)
        self.pit = answer.get("pit_id", self.pit)
        return answer.body

    async def limbs_in_use(self, amounts: set[str], filters: list[dict[str, Any]]) -> list[Limb]:
        """Every limb that some line item has: usually three or four of the 28, so the sums stay few."""
        candidates = [(amount, limb) for amount in sorted(amounts) for limb in LIMBS]
        answer = await self.search(size=0, query={"bool": {"filter": filters}}, aggs={"limbs": _having(candidates)})
        found = answer.get("aggregations", {}).get("limbs", {}).get("buckets", {})
        return [limb for limb in candidates if found.get(".".join(limb), {}).get("doc_count")]


def _having(limbs: Sequence[Limb]) -> dict[str, Any]:
    """An aggregation that counts the line items that have each of these limbs."""
    return {"filters": {"filters": {".".join(limb): {"exists": {"field": f"x_Limbs.{'.'.join(limb)}"}} for limb in limbs}}}


def _copies(account: str | None) -> str:
    # Any text; one that begins with "_" would mean something to Elasticsearch.
    return f"account {account or ''}"


@asynccontextmanager
async def _reading(client: AsyncElasticsearch, names: Names, account: str | None) -> AsyncIterator[Reader]:
    try:
        # No line items yet is an empty answer, not an error.
        opened = await client.open_point_in_time(
            index=names.alias, keep_alive=_PIT_KEEP_ALIVE, ignore_unavailable=True, preference=_copies(account)
        )
    except (ApiError, TransportError, OSError) as error:
        raise Unavailable(f"Elasticsearch cannot read {names.alias}: {describe(error)[1]}") from error
    reader = Reader(client, names.alias, account, opened["id"])
    try:
        yield reader
    finally:
        try:
            await client.close_point_in_time(id=reader.pit)
        except (ApiError, TransportError, OSError):
            pass  # it ends by itself after the keep-alive


def check_whole(answer: Mapping[str, Any]) -> None:
    """Raise Unavailable for an answer of Elasticsearch that leaves something out."""
    if answer.get("timed_out") or answer.get("_shards", {}).get("failed"):
        raise Unavailable("Elasticsearch answered for a part of its shards only; try again when the cluster is healthy")


class _Sought(NamedTuple):
    """What is read of each group, and how much at once."""

    limbs: Sequence[Limb]
    spans: bool
    page_size: int
    max_addends: int


def _grouping(by: tuple[str, ...], sought: _Sought) -> dict[str, Any]:
    """The aggregation that gives a page of groups, with all that _sums takes."""
    aggregations: dict[str, Any] = {f"{amount}.{limb}": {"sum": {"field": f"x_Limbs.{amount}.{limb}"}} for amount, limb in sought.limbs}
    aggregations["withdrawn"] = {"filter": {"term": {"x_Withdrawn": True}}}
    aggregations["unpriced"] = {"filter": UNPRICED}
    if sought.spans:
        ends = {"first": ("min", "ChargePeriodStart"), "last": ("max", "ChargePeriodEnd")}
        span = {name: {which: {"field": time, "format": INSTANT}} for name, (which, time) in ends.items()}
        aggregations["live"] = {"filter": {"bool": {"must_not": [{"term": {"x_Withdrawn": True}}]}}, "aggs": span}
    return {"composite": {"size": sought.page_size, "sources": [{name: source_of(name)} for name in by]}, "aggs": aggregations}


async def _all_groups(reader: Reader, filters: list[dict[str, Any]], by: tuple[str, ...], sought: _Sought) -> list[_Group] | None:
    """(key, sums) of every group by one search; None when one is not enough: more groups, large groups, or amounts with more limbs."""
    others = [(amount, limb) for amount in sorted({amount for amount, _ in sought.limbs}) for limb in LIMBS if limb not in _USUAL_LIMBS]
    aggregations = {"groups": _grouping(by, sought), "others": _having(others)}
    answer = await reader.search(size=0, query={"bool": {"filter": filters}}, aggs=aggregations, track_total_hits=True)
    if "aggregations" not in answer:
        return []  # there is no index yet
    buckets = answer["aggregations"]["groups"]["buckets"]
    # Every line item is in one group: those that are not counted stand in groups of another page.
    counted = sum(bucket["doc_count"] for bucket in buckets)
    unusual = any(bucket["doc_count"] for bucket in answer["aggregations"]["others"]["buckets"].values())
    if unusual or counted != answer["hits"]["total"]["value"] or any(bucket["doc_count"] > sought.max_addends for bucket in buckets):
        return None
    return [(bucket["key"], _sums(bucket, sought.limbs)) for bucket in buckets]


async def _each(groups: list[_Group]) -> AsyncIterator[_Group]:
    for group in groups:
        yield group


async def _groups(reader: Reader, filters: list[dict[str, Any]], by: tuple[str, ...], sought: _Sought) -> AsyncIterator[_Group]:
    """(key, sums) of every group, in the order of the keys."""
    grouping = _grouping(by, sought)
    while True:
        answer = await reader.search(size=0, query={"bool": {"filter": filters}}, aggs={"groups": grouping})
        page = answer.get("aggregations", {}).get("groups", {"buckets": []})
        for bucket in page["buckets"]:
            key = bucket["key"]
            if bucket["doc_count"] <= sought.max_addends:
                yield key, _sums(bucket, sought.limbs)
                continue
            finer = next((name for name in _SPLIT_BY if name not in by), None)
            if finer is None:
                raise RatemillError(f"the group {key} has {bucket['doc_count']} line items, too many to add exactly; ask for a narrower group")
            total = _Sums()
            within = [*filters, *(equals(name, key[name]) for name in by)]
            async for _, sums in _groups(reader, within, (*by, finer), sought):
                total.add(sums)
            yield key, total
        if "after_key" not in page:
            return  # only an empty page has none; a short one proves nothing
        grouping["composite"]["after"] = page["after_key"]


def _sums(bucket: Mapping[str, Any], limbs: Sequence[Limb]) -> _Sums:
    return _Sums(
        line_items=bucket["doc_count"] - bucket["withdrawn"]["doc_count"],
        unpriced=bucket["unpriced"]["doc_count"],
        limbs={(amount, limb): exact_integer(bucket[f"{amount}.{limb}"]["value"]) for amount, limb in limbs},
        **{name: bucket["live"][name].get("value_as_string") for name in ("first", "last") if "live" in bucket},
    )
