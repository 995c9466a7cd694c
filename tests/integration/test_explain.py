"""`ratemill explain` on a real Kafka and Elasticsearch, with a real worker: what it says of line items of every kind, and what it must find."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from harness.traffic import DIRECT, HOPPED, Message
from harness.verdict import read_documents
from harness.workers import Bed, bed
from harness.zygote import RATEMILL, run
from ratemill.local.stack import Stack
from ratemill.streams.prices_topic import publish_book
from ratemill.streams.topics import partition_of

pytestmark = pytest.mark.integration

TARIFF = """
currency: USD
prices:
  - {id: net, sku: net, unit: GB, model: graduated, tiers: [{up_to: "100", unit_price: "0.09"}, {unit_price: "PRICE"}]}
  - {id: msgs, sku: msgs, unit: M, model: volume, tiers: [{up_to: "5", unit_price: "3"}, {unit_price: "2"}], rounding: {digits: 0}}
accounts:
  - account: acct
    credits: [{id: g1, amount: "5", effective_from: 2020-01-01T00:00:00Z, expires: 2100-01-01T00:00:00Z}]
adjustments:
  - {id: support, type: uplift, percent: "10", of: all}
  - {id: credits, type: credits}
"""


def hour() -> datetime:
    """The start of this hour, or of the last one while this one is young: events of both must be in the past and in one month."""
    now = datetime.now(UTC)
    return (now - timedelta(minutes=10)).replace(minute=0, second=0, microsecond=0)


def event(id: str, sku: str, unit: str, quantity: str, time: datetime, **data: Any) -> dict[str, Any]:
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    data = {"sku": sku, "quantity": quantity, "unit": unit, **data}
    return {"specversion": "1.0", "type": "usage", "source": "src", "id": id, "subject": "acct", "time": text, "data": data}


def traffic() -> list[Message]:
    """100 of net lie before the last hour's 7, so all of these are in tier 2; one comes twice, one in conflict. 8.4 of msgs."""
    now = hour()
    before = now - timedelta(hours=1) if (now - timedelta(hours=1)).month == now.month else now
    events = [
        event("n1", "net", "GB", "60", before, region="a"),
        event("n2", "net", "GB", "40", before, region="a"),
        event("n3", "net", "GB", "3", now, region="eu"),
        event("n4", "net", "GB", "4", now, region="eu"),
        event("n3", "net", "GB", "3.0", now, region="eu"),
        event("n4", "net", "GB", "5", now, region="eu"),
        event("m1", "msgs", "M", "8.4", now),
    ]
    return [Message(HOPPED if n % 2 else DIRECT, None if n % 2 == 0 else 0, b"acct", json.dumps(each).encode()) for n, each in enumerate(events)]


async def explain(b: Bed, *arguments: str, **environment: str) -> tuple[int, Any, str]:
    """(exit status, JSON document or text, standard error)."""
    settings = {"RATEMILL_CONFIG": str(b.folder / "ratemill.toml"), "PATH": "/usr/bin:/bin", **environment}
    said = await asyncio.to_thread(run, *RATEMILL, "explain", *arguments, cwd=b.folder, env=settings)
    answer = json.loads(said.stdout) if "--json" in arguments and said.stdout else said.stdout
    return said.returncode, answer, said.stderr


def verdicts(found: Any) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in found["audit"]}


async def ids(b: Bed) -> dict[tuple[str, str, str], str]:
    """(sku, component, region) -> id of the newest line items."""
    return {
        (item["SkuId"], item["x_Component"], item.get("RegionId") or ""): item["x_LineItemId"]
        for item in await read_documents(b)
        if not item.get("x_Withdrawn")
    }


async def test_line_items_of_every_kind(stack: Stack, tmp_path: Path) -> None:
    """One story, as a worker is slow to start: a window, a period, a charge of the account; a new price; a forged line item."""
    async with bed(stack, tmp_path, seed=1, count=1, prices=None) as b:
        await publish_book(b.config, TARIFF.replace("PRICE", "0.085"), "book.yaml", "ann", "launch")
        b.traffic = traffic()
        worker = b.worker("a")
        await worker.ready()
        b.start_traffic(1_000)
        await b.settle()
        known = await ids(b)

        # A window, its tier, its events: the duplicate and the conflict are left out.
        window = known["net", "tier-2", "eu"]
        status, found, _ = await explain(b, window, "--json")
        assert (status, found["verdict"]) == (0, "equal"), found["audit"]
        assert {value["name"]: value["value"] for value in found["arithmetic"][0]["values"]}["before this window"] == "100"
        assert (found["line_item"]["cost"], found["line_item"]["status"]) == ("0.595", "estimate")
        events = found["events"]
        assert (events["counted"], events["quantity"], events["duplicates"], events["rejected"]) == (2, "7", 1, 1)
        assert {each["topic"] for each in events["shown"]} == {b.topic(DIRECT), b.topic(HOPPED)}
        assert (found["price"]["introduced"]["author"], found["price"]["introduced"]["reason"]) == ("ann", "launch")
        status, found, _ = await explain(b, window, "--json", "--events", "1", "--page", "2")
        assert ([each["id"] for each in found["events"]["shown"]], found["events"]["pages"]) == (["n4"], 2)

        # A charge of the period: 8.4 at 2 are 16.8, rounded to 17.
        status, found, _ = await explain(b, known["msgs", "rounding", ""], "--json")
        assert [(step["name"], step["due"]) for step in found["arithmetic"][0]["steps"]] == [("volume", "16.8"), ("rounding", "17")]
        assert (status, found["verdict"]) == (0, "equal"), found["audit"]

        # A charge of the account: 17 and 9 and 0.595 are 26.595; a tenth of it is 2.6595.
        status, found, _ = await explain(b, known["support", "tier-1", ""], "--json")
        assert (status, found["verdict"], found["line_item"]["cost"]) == (0, "equal", "2.6595"), found["audit"]
        assert [value["value"] for value in found["arithmetic"][0]["values"]] == ["5 → 0"]

        # Without Elasticsearch the line item is found on usage.rated.
        status, found, _ = await explain(b, window, "--json", RATEMILL_ELASTICSEARCH__URL="http://127.0.0.1:1")
        assert (status, found["read_from"], found["verdict"]) == (0, "usage.rated", "unknown")
        assert {name for name, verdict in verdicts(found).items() if verdict != "equal"} == {"Elasticsearch"}
        status, page, error = await explain(b, "0" * 32)
        assert (status, page, len(error.splitlines())) == (2, "", 1)

        # A new price: another revision, with its cause.
        tariff = await publish_book(b.config, TARIFF.replace("PRICE", "0.08"), "book.yaml", "bea", "cheaper")
        await b.priced_by(tariff.digest)
        await b.settle()
        status, found, _ = await explain(b, window, "--json")
        assert (status, found["line_item"]["cost"]) == (0, "0.56")
        causes = [(each["cost"], each["cause_in_words"]) for each in found["revisions"][-2:]]
        assert causes == [("0.595", "usage"), ("0.56", f"price book {tariff.digest[:12]} by bea: cheaper")]

        # Negative control: somebody writes a line item that the partition never made.
        await forge(b, window)
        status, page, _ = await explain(b, window)
        assert status == 1
        assert "DIFFERS  recomputed" in page
        assert "What is stored differs from what it must be" in page
        assert await worker.terminate() == 0


async def forge(b: Bed, line_item_id: str) -> None:
    """Another cost under the next revision, consistent in itself."""
    (item,) = [each for each in await read_documents(b) if each["x_LineItemId"] == line_item_id]
    item.pop("x_Limbs", None)
    item |= dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), "0.64")
    item |= {"x_Revision": item["x_Revision"] + 1, "PricingQuantity": "8", "ConsumedQuantity": "8"}
    producer = AIOKafkaProducer(bootstrap_servers=b.stack.kafka)
    await producer.start()
    try:
        partition = partition_of("acct", b.config.kafka.partitions)
        await producer.send_and_wait(b.topic("usage.rated"), json.dumps(item).encode(), line_item_id.encode(), partition)
    finally:
        await producer.stop()
    deadline = time.monotonic() + 30
    while all(each["BilledCost"] != "0.64" for each in await read_documents(b)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.3)
