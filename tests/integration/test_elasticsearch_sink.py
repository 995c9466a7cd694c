"""The sink and its totals against a real Elasticsearch."""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from decimal import Context, Decimal, localcontext
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from elasticsearch import BadRequestError
from harness.zygote import RATEMILL, run
from ratemill.local.stack import Stack
from ratemill.schemas.errors import RatemillError
from ratemill.schemas.line_item import RatedLineItem, encode_line_item
from ratemill.sinks.cost_cache import CostCache
from ratemill.sinks.costs import CostRow, costs, count_line_items, fetch_line_items
from ratemill.sinks.elasticsearch import ElasticsearchSink
from ratemill.sinks.metrics import CountingMetrics
from ratemill.sinks.templates import TEMPLATE_VERSION, IndexConflict, template_body
from ratemill.streams.config import load_config
from ratemill.streams.core.items import withdraw

pytestmark = pytest.mark.integration


def line_item(number: int, revision: int = 1, billed: str = "1.5", day: int = 14, **changes: Any) -> RatedLineItem:
    fields: dict[str, Any] = {
        "x_line_item_id": f"li-{number}",
        "x_revision": revision,
        "billing_account_id": f"acct-{number % 5}",
        "billing_currency": "USD",
        "billing_period_start": "2026-09-01T00:00:00Z",
        "billing_period_end": "2026-10-01T00:00:00Z",
        "charge_period_start": f"2026-09-{day:02d}T05:00:00Z",
        "charge_period_end": f"2026-09-{day:02d}T06:00:00Z",
        "sku_id": f"sku-{number % 3}",
        "billed_cost": billed,
        "effective_cost": billed,
        "list_cost": billed,
        "contracted_cost": billed,
        "charge_category": "Usage",
        "charge_class": None,
        "charge_description": None,
        "pricing_quantity": "0.000000000000000000001",
        "pricing_unit": "GB-Hours",
        "service_name": "Search",
        "service_category": "Databases",
        "provider_name": "Example",
        "publisher_name": "Example",
        "invoice_issuer_name": "Example",
    }
    return RatedLineItem(**{**fields, **changes})


@pytest.fixture
async def sink(stack: Stack) -> AsyncIterator[ElasticsearchSink]:
    """A sink with a prefix that nobody else uses."""
    async with ElasticsearchSink(stack.elasticsearch, prefix=f"sink-{uuid.uuid4().hex[:8]}", metrics=CountingMetrics()) as made:
        yield made
        for index in await made.client.indices.get(index=made.names.pattern):
            await made.client.indices.delete(index=index)
        await made.client.indices.delete_index_template(name=made.names.template)


def counts(sink: ElasticsearchSink) -> dict[str, int]:
    assert isinstance(sink.metrics, CountingMetrics)
    return {name: sink.metrics.counts[name] for name in ("indexed", "already_there")}


async def visible(sink: ElasticsearchSink) -> dict[str, dict[str, Any]]:
    await sink.client.indices.refresh(index=sink.names.alias)
    return {item["x_LineItemId"]: item async for item in fetch_line_items(sink.client, sink.names.prefix, page_size=7)}


async def total(sink: ElasticsearchSink) -> str:
    await sink.client.indices.refresh(index=sink.names.alias)
    (row,) = await costs(sink.client, sink.names.prefix, by=())
    return row.billed_cost


def expected(items: Sequence[RatedLineItem], *fields: str) -> dict[tuple[str | None, ...], Decimal]:
    """Totals by struct fields, added with Decimal."""
    totals: dict[tuple[str | None, ...], Decimal] = defaultdict(Decimal)
    with localcontext(Context(prec=300)):
        for item in items:
            totals[(*(getattr(item, name) for name in fields), item.billing_currency)] += Decimal(item.billed_cost)
    return dict(totals)


def got(rows: Sequence[CostRow]) -> dict[tuple[str | None, ...], Decimal]:
    return {(*row.group.values(), row.currency): Decimal(row.billed_cost) for row in rows}


async def test_a_document_is_the_line_item_as_it_was_written(sink: ElasticsearchSink) -> None:
    items = [line_item(n, charge_description='quote " and\nbreak', x_dimensions='{"tier":"hot"}') for n in range(20)]
    assert await sink.write([encode_line_item(item) for item in items]) == []
    documents = await visible(sink)
    assert [documents[f"li-{n}"] for n in range(20)] == [orjson.loads(encode_line_item(item)) for item in items]


async def test_a_replay_changes_nothing(sink: ElasticsearchSink) -> None:
    items = [line_item(n, billed="0.1") for n in range(100)]
    for _ in range(3):
        assert await sink.write(items) == []
    assert await total(sink) == "10"
    assert counts(sink) == {"indexed": 100, "already_there": 200}


async def test_with_random_ids_the_replay_check_sees_the_doubled_total(sink: ElasticsearchSink) -> None:
    """Negative control of the test above."""
    for _ in range(2):
        await sink.write([line_item(n, billed="0.1", x_line_item_id=uuid.uuid4().hex) for n in range(100)])
    assert await total(sink) == "20"


async def test_a_stale_revision_is_refused_silently(sink: ElasticsearchSink) -> None:
    assert await sink.write([line_item(1, 5, "5")]) == []
    assert await sink.write([line_item(1, 4, "4"), line_item(1, 3, "3")]) == []
    assert await total(sink) == "5"
    assert counts(sink) == {"indexed": 1, "already_there": 1}


async def test_without_external_versions_a_stale_item_would_overwrite(sink: ElasticsearchSink) -> None:
    """Negative control of the test above."""
    await sink.write([line_item(1, 5, "5")])
    stale = {"index": {"_index": sink.names.write_alias("2026.09"), "_id": "li-1"}}
    document = {"x_LineItemId": "li-1", "BillingCurrency": "USD", "BilledCost": "4", "x_Limbs": {"billed": {"e0": 4}}}
    await sink.client.bulk(operations=[stale, document])
    assert await total(sink) == "4"


async def test_revisions_in_any_order_end_with_the_highest(sink: ElasticsearchSink) -> None:
    rng = random.Random(7)
    revisions = [(number, revision) for number in range(40) for revision in range(1, 6)]
    rng.shuffle(revisions)
    writes = [[line_item(n, revision, str(revision)) for n, revision in revisions[start : start + 30]] for start in range(0, len(revisions), 30)]
    await asyncio.gather(*(sink.write(items) for items in writes))
    assert {(item["x_Revision"], item["BilledCost"]) for item in (await visible(sink)).values()} == {(5, "5")}
    assert await total(sink) == "200"


async def test_withdrawn_line_items_stay_and_count_nothing(sink: ElasticsearchSink) -> None:
    await sink.write([line_item(n) for n in range(4)])
    nothing = {"billed": "0", "pricing_quantity": "0", "x_withdrawn": True}
    await sink.write([line_item(0, 2, **nothing), line_item(3, 2, **nothing)])
    assert await total(sink) == "3"
    prefix = sink.names.prefix
    assert (await count_line_items(sink.client, prefix), await count_line_items(sink.client, prefix, withdrawn=False)) == (4, 2)
    rows = await costs(sink.client, prefix, by=["account"])
    assert [(row.group["account"], row.line_items) for row in rows] == [("acct-1", 1), ("acct-2", 1)]


async def test_one_bad_document_is_refused_and_the_others_are_there(sink: ElasticsearchSink) -> None:
    items = [encode_line_item(line_item(n)) for n in range(9)]
    items[2] = items[2].replace(b'"SkuId":', b'"Surprise":1,"SkuId":')  # strict mapping
    items[4] = items[4].replace(b"2026-09-14T05", b"2026-09-40T05")
    items[6] = items[6].replace(b'"acct-1"', b'"' + b"a" * 40_000 + b'"')  # longer than a keyword may be
    refused = await sink.write(items)
    assert [(one.line_item_id, one.status, one.item) for one in refused] == [(f"li-{n}", 400, items[n]) for n in (2, 4, 6)]
    assert ["Surprise" in refused[0].reason, "ChargePeriodStart" in refused[1].reason, "BillingAccountId" in refused[2].reason] == [True] * 3
    assert set(await visible(sink)) == {f"li-{n}" for n in (0, 1, 3, 5, 7, 8)}


async def test_totals_are_exact_by_every_dimension(sink: ElasticsearchSink) -> None:
    rng = random.Random(11)

    def amount() -> str:
        return f"{rng.choice(['', '-'])}{rng.randrange(10 ** rng.randrange(1, 25))}.{rng.randrange(10**40):0{rng.randrange(40, 60)}d}"

    def any_item(number: int) -> RatedLineItem:
        region, currency = rng.choice([None, "eu-1", "us-1"]), rng.choice(["USD", "EUR"])
        return line_item(number, billed=amount(), day=rng.randrange(1, 29), region_id=region, billing_currency=currency)

    items = [any_item(n) for n in range(1_500)]
    items += [line_item(9_000 + n, billed="0.1", billing_period_start="2026-10-01T00:00:00Z", x_unpriced=True) for n in range(10)]
    assert await sink.write(items) == []
    await sink.client.indices.refresh(index=sink.names.alias)
    prefix = sink.names.prefix
    for by, fields in ([], []), (["account"], ["billing_account_id"]), (["sku", "region"], ["sku_id", "region_id"]):
        assert got(await costs(sink.client, prefix, by=by, page_size=3)) == expected(items, *fields)
    # Too many line items for exact limb sums: the group is read in parts. A bound of 20 stands for the real one of 9 million.
    assert got(await costs(sink.client, prefix, by=["account"], max_addends=20)) == expected(items, "billing_account_id")
    hours = await costs(sink.client, prefix, by=["hour"], period="2026-09", account="acct-2")
    mine = [item for item in items if item.billing_account_id == "acct-2" and item.billing_period_start.startswith("2026-09")]
    assert got(hours) == expected(mine, "charge_period_start")
    (october,) = await costs(sink.client, prefix, by=["period", "unit"], period="2026-10")
    assert october.group == {"period": "2026-10", "unit": "GB-Hours"}
    assert (october.billed_cost, october.line_items, october.unpriced, october.pricing_quantity) == ("1", 10, 10, "0.00000000000000000001")


async def test_one_search_is_enough_for_few_groups_and_for_nothing_else(sink: ElasticsearchSink, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [line_item(n, billed=f"-{n}.000000000000000{n}") for n in range(60)]
    await sink.write(items)
    await sink.client.indices.refresh(index=sink.names.alias)
    read = partial(costs, sink.client, sink.names.prefix, by=["account"])
    pages, parts = await read(page_size=2), await read(max_addends=4)

    def no_second_search(*_: object) -> None:
        raise AssertionError("a point in time")

    monkeypatch.setattr("ratemill.sinks.costs._reading", no_second_search)
    assert await read() == pages == parts
    assert got(pages) == expected(items, "billing_account_id")
    for more in ({"page_size": 4}, {"max_addends": 4}):
        with pytest.raises(AssertionError, match="a point in time"):
            await read(**more)
    await sink.write([line_item(99, billed="0.0000000000000000001")])  # has a limb that is usually not asked for
    await sink.client.indices.refresh(index=sink.names.alias)
    with pytest.raises(AssertionError, match="a point in time"):
        await read()


async def test_costs_are_remembered_until_a_line_item_of_theirs_changes(sink: ElasticsearchSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CostCache, "worth", 1)
    reads: list[list[CostRow]] = []

    async def counted(*arguments: Any, **asked: Any) -> list[CostRow]:
        reads.append(await costs(*arguments, **asked))
        return reads[-1]

    monkeypatch.setattr("ratemill.sinks.cost_cache.costs", counted)
    cache = CostCache()
    read = partial(cache.costs, sink.client, sink.names.prefix, account="acct-1", by=("sku",), period="2026-09")

    async def billed(*items: RatedLineItem) -> list[tuple[str, int]]:
        """After these were written, twice: what is remembered is what is there."""
        await sink.write(items)
        await sink.client.indices.refresh(index=sink.names.alias)
        assert await read() == await read() == await costs(sink.client, sink.names.prefix, account="acct-1", by=("sku",), period="2026-09")
        return [(row.billed_cost, row.line_items) for row in await read()]

    mine, others = line_item(1, 5, "2", sku_id="a"), line_item(2, 1, "7", sku_id="a")
    assert await billed(mine, line_item(6, 1, "3", sku_id="a"), others) == [("5", 2)]
    assert len(reads) == 2  # the first one learned that it is worth it
    assert await billed(line_item(2, 2, "8", sku_id="a"), line_item(11, billing_period_start="2026-10-01T00:00:00Z")) == [("5", 2)]
    assert len(reads) == 2, "of another account and another month"
    assert await billed(line_item(1, 6, "4", sku_id="a")) == [("7", 2)]
    assert len(reads) == 3, "as many line items, another revision: their number alone (negative control) does not tell"
    assert await billed(line_item(11, 1, "1", sku_id="a")) == [("8", 3)]
    assert await billed(withdraw(line_item(11, 2, sku_id="a"))) == [("7", 2)]
    assert len(reads) == 5


async def test_no_more_rows_are_remembered_than_may_be(sink: ElasticsearchSink, monkeypatch: pytest.MonkeyPatch) -> None:
    await sink.write([line_item(n) for n in range(20)])
    await sink.client.indices.refresh(index=sink.names.alias)
    monkeypatch.setattr(CostCache, "most_rows", 4)
    for worth, kept in ((1, 4), (5, 0)):  # four line items of each account: fewer than five are not worth it
        monkeypatch.setattr(CostCache, "worth", worth)
        cache = CostCache()
        for n in range(5):
            await cache.costs(sink.client, sink.names.prefix, account=f"acct-{n}", by=("account",), period=None)
        assert len(cache._known) == kept


async def test_a_line_item_without_the_asked_dimension_is_in_the_total_all_the_same(sink: ElasticsearchSink) -> None:
    undated = encode_line_item(line_item(1)).replace(b'"ChargePeriodStart":"2026-09-14T05:00:00Z",', b"")
    await sink.write([undated, line_item(2)])
    await sink.client.indices.refresh(index=sink.names.alias)
    rows = await costs(sink.client, sink.names.prefix, by=["day"])
    assert [(row.group["day"], row.billed_cost) for row in rows] == [("2026-09-14", "1.5"), (None, "1.5")]


async def test_a_group_that_cannot_be_added_exactly_is_an_error_not_a_wrong_number(sink: ElasticsearchSink) -> None:
    await sink.write([line_item(n * 15) for n in range(5)])  # alike in everything that groups are split by
    await sink.client.indices.refresh(index=sink.names.alias)
    with pytest.raises(RatemillError, match="too many to add exactly"):
        await costs(sink.client, sink.names.prefix, by=["account"], max_addends=4)


async def test_doubles_alone_would_give_another_total(sink: ElasticsearchSink) -> None:
    """Negative control of the limbs: one `double` for each amount does not add up."""
    amounts = ["12345678901.123456789012345678", "-12345678901.123456789012345677"]
    await sink.write([line_item(n, billed=amount) for n, amount in enumerate(amounts)])
    assert await total(sink) == "0.000000000000000001"
    assert sum(map(float, amounts)) != 1e-18


async def test_a_read_only_index_is_waited_for(sink: ElasticsearchSink) -> None:
    await sink.write([line_item(1)])
    index = sink.names.index("2026.09")
    await sink.client.indices.put_settings(index=index, settings={"index.blocks.read_only_allow_delete": True})
    writing = asyncio.create_task(sink.write([line_item(2), line_item(3)]))
    await asyncio.sleep(1)
    assert not writing.done()
    assert isinstance(sink.metrics, CountingMetrics)
    assert sum(sink.metrics.retries.values()) >= 2
    await sink.client.indices.put_settings(index=index, settings={"index.blocks.read_only_allow_delete": None})
    assert await asyncio.wait_for(writing, 10) == []
    assert set(await visible(sink)) == {"li-1", "li-2", "li-3"}


async def test_a_closed_index_is_waited_for(sink: ElasticsearchSink) -> None:
    await sink.write([line_item(1)])
    index = sink.names.index("2026.09")
    await sink.client.indices.close(index=index)
    writing = asyncio.create_task(sink.write([line_item(2)]))
    await asyncio.sleep(0.5)
    assert not writing.done()
    await sink.client.indices.open(index=index)
    assert await asyncio.wait_for(writing, 10) == []
    assert set(await visible(sink)) == {"li-1", "li-2"}


async def test_an_index_that_was_deleted_comes_back_with_the_strict_mapping(sink: ElasticsearchSink) -> None:
    await sink.write([line_item(1)])
    await sink.client.indices.delete(index=sink.names.index("2026.09"))
    await sink.client.indices.delete_index_template(name=sink.names.template)
    assert await sink.write([line_item(2)]) == []
    mapping = await sink.client.indices.get_mapping(index=sink.names.index("2026.09"))
    assert mapping[sink.names.index("2026.09")]["mappings"]["dynamic"] == "strict"
    assert set(await visible(sink)) == {"li-2"}
    await sink.start()


async def test_an_older_template_and_its_indices_get_the_new_fields(sink: ElasticsearchSink) -> None:
    older = template_body(sink.names, refresh_interval="1s", replicas="0-1")
    older["version"] = 0
    del older["template"]["mappings"]["properties"]["x_Unpriced"]
    await sink.client.indices.put_index_template(name=sink.names.template, **older)
    await sink.client.indices.create(index=sink.names.index("2026.09"))
    unpriced = line_item(1, x_unpriced=True)
    assert [refused.status for refused in await sink.write([unpriced])] == [400]
    await sink.start()
    assert await sink.write([unpriced]) == []
    found = await sink.client.indices.get_index_template(name=sink.names.template)
    assert found["index_templates"][0]["index_template"]["version"] == TEMPLATE_VERSION


async def test_how_soon_a_search_finds_a_line_item_is_a_setting(stack: Stack) -> None:
    chosen = load_config(environment={"RATEMILL_ELASTICSEARCH__REFRESH_INTERVAL_S": "0.25"}).elasticsearch.refresh_interval
    async with ElasticsearchSink(stack.elasticsearch, prefix=f"refresh-{uuid.uuid4().hex[:8]}", refresh_interval=chosen) as sink:
        await sink.write([line_item(1)])
        index = sink.names.index("2026.09")
        found = await sink.client.indices.get_settings(index=index)
        assert found[index]["settings"]["index"]["refresh_interval"] == "250ms"
        await sink.client.indices.delete(index=index)


async def command(*arguments: str) -> Any:
    """What `ratemill …` answers."""
    said = await asyncio.to_thread(run, *RATEMILL, *arguments, "--json", cwd=Path.cwd(), env=os.environ)
    assert said.returncode == 0, said.stderr
    return orjson.loads(said.stdout)


async def test_the_costs_command_shows_what_was_written(sink: ElasticsearchSink, stack: Stack) -> None:
    await sink.write([line_item(n, billed="0.000000000000000000001") for n in range(10)])
    await sink.client.indices.refresh(index=sink.names.alias)
    answer = await command("costs", "--by", "sku", "--elasticsearch", stack.elasticsearch, "--prefix", sink.names.prefix)
    assert [total["billed_cost"] for total in answer["totals"]] == ["0.00000000000000000001"]
    assert [(row["group"]["sku"], row["line_items"]) for row in answer["rows"]] == [("sku-0", 4), ("sku-1", 3), ("sku-2", 3)]


STARTS = {  # of a billing month -> the month; in UTC, of the earliest and the latest zone, where clocks change, around a short month
    "2026-08-31T22:00:00Z": "2026-09", "2026-09-01T00:00:00Z": "2026-09", "2026-09-01T12:00:00Z": "2026-09", "2026-08-31T10:00:00Z": "2026-09",
    "2026-09-30T10:00:00Z": "2026-10", "2026-10-01T12:00:00Z": "2026-10", "2026-02-28T10:00:00Z": "2026-03", "2026-02-28T23:00:00Z": "2026-03",
    "2026-02-01T12:00:00Z": "2026-02", "2026-03-01T12:00:00Z": "2026-03", "2026-03-31T10:00:00Z": "2026-04",
}  # fmt: skip


async def test_a_billing_month_is_that_of_its_own_time_zone(sink: ElasticsearchSink, monkeypatch: pytest.MonkeyPatch) -> None:
    await sink.write([line_item(n, billing_period_start=start) for n, start in enumerate(STARTS)])
    await sink.client.indices.refresh(index=sink.names.alias)
    prefix = sink.names.prefix
    wanted = {month: list(STARTS.values()).count(month) for month in sorted(set(STARTS.values()))}
    assert {row.group["period"]: row.line_items for row in await costs(sink.client, prefix, by=["period"])} == wanted
    for month, count in wanted.items():
        (row,) = await costs(sink.client, prefix, by=["period"], period=month)
        assert (row.group["period"], row.line_items, await count_line_items(sink.client, prefix, period=month)) == (month, count, count)
    monkeypatch.setattr("ratemill.sinks.dimensions._EARLIEST_ZONE", "UTC")
    assert {row.group["period"]: row.line_items for row in await costs(sink.client, prefix, by=["period"])} != wanted, "months of UTC are others"


async def test_an_invoice_comes_to_what_costs_says(sink: ElasticsearchSink, stack: Stack) -> None:
    cost = "0.000000000000000000001"
    parts = ({}, {"x_adjustment": "pool"}, {"x_corrected_period": "2026-08"}, {"x_corrected_period": "2026-08", "x_adjustment": "pool"})
    items = [line_item(n, billed=cost, billing_account_id="acct", **parts[n % 4]) for n in range(30)]
    others = [line_item(90, billed="7"), line_item(91, billed="8", billing_account_id="acct", billing_currency="EUR")]
    october = {"billing_period_start": "2026-10-01T00:00:00Z", "billing_period_end": "2026-11-01T00:00:00Z"}
    await sink.write([*items, *others, line_item(92, billed="9", billing_account_id="acct", **october)])
    await sink.client.indices.refresh(index=sink.names.alias)
    where = ["--elasticsearch", stack.elasticsearch, "--prefix", sink.names.prefix]
    invoice = await command("invoice", "acct", "2026-09", *where)
    of_costs = await command("costs", "--account", "acct", "--period", "2026-09", *where)
    assert invoice["status"] == "estimate"
    assert [(each["currency"], each["total"], each["line_items"]) for each in invoice["invoices"]] == [
        (total["currency"], total["billed_cost"], total["line_items"]) for total in of_costs["totals"]
    ]
    euros, dollars = invoice["invoices"]
    assert (euros["total"], dollars["total"]) == ("8", "0.00000000000000000003")
    assert [sum(line["line_items"] for line in dollars[part]["lines"]) for part in ("usage", "adjustments", "corrections")] == [8, 8, 14]


async def test_an_index_of_another_make_is_a_clear_error(sink: ElasticsearchSink) -> None:
    await sink.client.indices.delete_index_template(name=sink.names.template)
    await sink.client.indices.create(index=sink.names.index("2026.09"))
    with pytest.raises(IndexConflict, match="another mapping"):
        await sink.write([line_item(1)])
    await sink.start()


async def test_an_index_made_by_the_template_only_lacks_the_write_alias(sink: ElasticsearchSink) -> None:
    await sink.client.indices.create(index=sink.names.index("2026.09"))
    assert await sink.write([line_item(1)]) == []
    assert set(await visible(sink)) == {"li-1"}


async def test_several_sinks_may_start_and_write_at_once(sink: ElasticsearchSink, stack: Stack) -> None:
    others = [ElasticsearchSink(stack.elasticsearch, prefix=sink.names.prefix) for _ in range(4)]
    await asyncio.gather(*(other.start() for other in others))
    await asyncio.gather(*(other.write([line_item(n) for n in range(50)]) for other in others))
    await asyncio.gather(*(other.close() for other in others))
    assert await total(sink) == "75"


async def test_before_the_first_line_item_everything_is_empty(stack: Stack) -> None:
    async with ElasticsearchSink(stack.elasticsearch, prefix=f"empty-{uuid.uuid4().hex[:8]}") as empty:
        assert await costs(empty.client, empty.names.prefix) == []
        assert await count_line_items(empty.client, empty.names.prefix) == 0
        assert [item async for item in fetch_line_items(empty.client, empty.names.prefix)] == []
        with pytest.raises(BadRequestError):  # strict: the sink is not the only one that cannot guess mappings
            await empty.client.index(index=empty.names.index("2026.09"), document={"Surprise": 1})
        await empty.client.indices.delete(index=empty.names.index("2026.09"), ignore_unavailable=True)
        await empty.client.indices.delete_index_template(name=empty.names.template)
