"""Reports that are published again, from a bucket to line items: `ratemill collect` on moto's S3, a real Kafka and Elasticsearch, and a worker.

It is killed twice with each version: when the version was taken over, and when Kafka has the events and the collector does not know it yet.

The rows are the real ones of AWS. What must stand in the end is what `ratemill rate` makes of the rows of the last version alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from harness.control import Month, Operator, differing, line_items, rated, standing
from harness.reports import USAGE, AwsReport, Row, bucket, real_rows
from harness.traffic import HOPPED
from harness.verdict import read_documents
from harness.workers import Bed, bed
from harness.zygote import run
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration

LAST = Month(-1)
DIES = Path(__file__).with_name("harness") / "collect_main.py"


def prices(rows: list[Row]) -> list[dict[str, Any]]:
    """A price of each rate code; tiers for the one with most rows, so that restated quantities move over tier bounds."""
    codes = sorted({(row["pricing/RateCode"], row["pricing/unit"]) for row in rows if row["lineItem/LineItemType"] in USAGE})
    usual = max(codes, key=lambda code: sum(row["pricing/RateCode"] == code[0] for row in rows))
    made: list[dict[str, Any]] = []
    for number, (sku, unit) in enumerate(codes):
        price: dict[str, Any] = {"id": f"p{number}", "sku": sku, "unit": unit, "model": "unit", "unit_price": f"0.0{number + 1}"}
        if (sku, unit) == usual:
            del price["unit_price"]
            tiers = [{"up_to": "1", "unit_price": "3"}, {"up_to": "5", "unit_price": "2"}, {"unit_price": "1"}]
            price |= {"model": "graduated", "tiers": tiers}
        made.append(price)
    return made


def restated(rows: list[Row], seed: int) -> list[Row]:
    """Another version: other amounts, other row ids, some rows gone, one new."""
    chance = random.Random(seed)
    found = [{**row, "identity/LineItemId": f"{seed}-{n}"} for n, row in enumerate(rows) if chance.random() > 0.03]
    for row in found:
        if chance.random() < 0.25:
            row["lineItem/UsageAmount"] = f"{chance.randrange(10**6)}.{chance.randrange(10**10):010}"
    usual = next(row for row in found if row["lineItem/LineItemType"] in USAGE)
    return [*found, {**usual, "identity/LineItemId": f"{seed}-new", "lineItem/ResourceId": f"new-{seed}", "lineItem/UsageAmount": "0.25"}]


def as_events(rows: list[Row]) -> list[dict[str, Any]]:
    """The rows as plain events, without a collector and its decoders."""
    found = []
    for number, row in enumerate(rows):
        if row["lineItem/LineItemType"] not in USAGE:
            continue
        names = ("product_code", "usage_type", "operation", "availability_zone", "line_item_type", "pricing_term")
        columns = (
            "lineItem/ProductCode", "lineItem/UsageType", "lineItem/Operation", "lineItem/AvailabilityZone", "lineItem/LineItemType", "pricing/term",
        )  # fmt: skip
        dimensions = {name: row[column] for name, column in zip(names, columns, strict=True) if row.get(column)}
        data = {"sku": row["pricing/RateCode"], "quantity": row["lineItem/UsageAmount"] or "0", "unit": row["pricing/unit"], "provider": "aws"}
        places = {"region": row["product/region"] or row["product/regionCode"], "resource": row.get("lineItem/ResourceId", "")}
        data |= {"dimensions": dimensions, **{name: place for name, place in places.items() if place}}
        found.append(
            {
                "specversion": "1.0", "id": str(number), "source": "rows", "type": "usage", "subject": row["lineItem/UsageAccountId"],
                "time": row["lineItem/UsageStartDate"], "data": data,
            }
        )  # fmt: skip
    return found


def used(items: dict[str, bytes]) -> dict[str, bytes]:
    """Without what stays at nothing where usage was taken back."""
    return {id: text for id, text in items.items() if Fraction(json.loads(text)["PricingQuantity"])}


async def verify(b: Bed, book: list[dict[str, Any]], rows: list[Row]) -> None:
    """usage.rated and Elasticsearch hold the line items of these rows, and of no others."""
    await b.settle()
    items = await line_items(b)
    assert not (found := differing("usage.rated", used(rated(book, as_events(rows))), used(standing(items)))), "\n".join(found)
    documents = [document for document in await read_documents(b) if not document.get("x_Withdrawn")]
    assert len(documents) == len(items), "one document for each line item: a restated day is not a second one"
    total = sum((Fraction(item["BilledCost"]) for item in items.values()), Fraction(0))
    assert sum((Fraction(document["BilledCost"]) for document in documents), Fraction(0)) == total > 0
    assert await b.read("usage.dead-letter") == []


async def test_a_report_published_three_times_costs_what_the_last_one_says(stack: Stack, tmp_path: Path) -> None:
    rows = [{**row, "lineItem/ResourceId": ""} for row in real_rows(str(LAST))]
    rows = [row for row in rows if row["lineItem/LineItemType"] not in USAGE or row["pricing/RateCode"]]
    versions = [rows, restated(rows, 1), restated(rows, 2)]
    book = prices(rows)
    with bucket() as (address, put):
        async with bed(stack, tmp_path, seed=1, count=0, prices=book) as b:
            await b.worker("a").ready()
            operator = Operator(b)
            operator.environment |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
            report = AwsReport(put, str(LAST))
            AwsReport(put, str(Month(-2))).publish("older", real_rows(str(Month(-2)))[:5])
            where = ("--endpoint", address, "--topic", b.topic(HOPPED))
            collect = ("collect", "aws-cur", "s3://reports/cur", "--report", "hourly", "--since", str(LAST), *where)
            for number, published in enumerate(versions):
                report.publish(f"version-{number}", published)
                before = len(await b.read(HOPPED))
                for step in ("applied", "delivered"):
                    first = ("--new",) if (number, step) == (0, "applied") else ()
                    done = await asyncio.to_thread(run, str(DIES), step, *collect, *first, cwd=tmp_path, env=operator.environment, timeout=150)
                    assert done.returncode == -9, done.stdout + done.stderr
                sent = len(await b.read(HOPPED)) - before
                status, out, err = await operator.type(*collect)
                assert (status, f"hourly {LAST} version-{number}: stands already" in out) == (0, True), out + err
                assert len(await b.read(HOPPED)) - before > sent > 0, "what Kafka had before the end came is there again"
                await verify(b, book, published)
            status, out, _ = await operator.type(*collect)
            assert (status, "stands already" in out) == (0, True)

            status, out, _ = await operator.type("collect", "changes", "--version", "version-2", "--json")
            changes = [json.loads(line) for line in out.splitlines()]
            assert changes
            (event,) = [change["event"] for change in changes if change["event"].get("resource") == "new-1"]
            assert (event["quantity"], event["sku"]) == ("-0.25", versions[1][-1]["pricing/RateCode"]), "what version 1 had and version 2 has not"
            (line,) = [item for item in (await line_items(b)).values() if item.get("ResourceId") == "new-1"]
            status, out, err = await operator.type("explain", line["x_LineItemId"], "--json")
            assert (status, event["id"] in out) == (0, True), out + err

            status, out, _ = await operator.type("collect", "status", "--json")
            (said,) = json.loads(out)["reports"]
            hours = {row["lineItem/UsageStartDate"][:13] for row in versions[2] if row["lineItem/LineItemType"] in USAGE}
            assert said["hours_seen"] >= len(hours)
            assert said["hours_expected"] == (LAST.end - LAST.start).total_seconds() / 3_600
            assert (said["versions"], said["waiting_to_be_sent"]) == (3, 0)
            assert sum(1 for _ in said["missing"]) >= 1
