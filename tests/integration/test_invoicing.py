"""Invoices of the demo's usage: the rated topic, the API, Elasticsearch, the offline run and the example agree on them, to the last digit."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from harness.api import Api
from harness.control import BECAUSE, Month, Operator, publish
from harness.traffic import DIRECT, HOPPED
from harness.workers import Bed, bed
from harness.zygote import run
from loading import load
from ratemill.cli.invoice_run import topics_of
from ratemill.cli.publish import publish_file
from ratemill.demo.derive import derive
from ratemill.demo.reconcile import offline_items
from ratemill.demo.rows import SOURCES, read_rows
from ratemill.invoicing import InvoiceJob, Store
from ratemill.invoicing.focus import read_rows as read_rows_of
from ratemill.local.stack import Stack
from ratemill.pricing.book import parse_price_book
from ratemill.pricing.money import EXACT
from ratemill.schemas.control import Receipt, encode_control, month_number
from ratemill.schemas.line_item import decode_line_item, encode_line_item
from ratemill.streams.prices_topic import publish_book
from ratemill.streams.topics import ensure_topics

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).parents[2]
MONTH = "2023-11"
KILLED = Path(__file__).parent / "harness" / "invoice_main.py"
Totals = dict[tuple[str, str], Decimal]


class World:
    """A Ratemill that has rated the demo's usage."""

    def __init__(self, b: Bed, operator: Operator, offline: list[dict[str, Any]]) -> None:
        self.bed, self.operator, self.offline = b, operator, offline
        self.environment = {**os.environ, "RATEMILL_CONFIG": str(b.folder / "ratemill.toml")}

    async def invoice(self, *arguments: str, status: int = 0) -> str:
        """`ratemill invoice …`, which must end so: what it printed."""
        got, out, err = await self.operator.type("invoice", *arguments)
        assert got == status, out + err
        return out + err


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    with localcontext(EXACT):
        derived = derive(read_rows(), "USD")
        offline, _ = offline_items(SOURCES, parse_price_book(derived.text, "prices.yaml"), 3_600)
    async with bed(stack, tmp_path_factory.mktemp("invoicing"), seed=1, count=0, prices=None) as b:
        await publish_book(b.config, derived.text, "prices.yaml", "test", "test")
        await b.worker("a").ready()
        for source in SOURCES:
            await publish_file(b.config, source.path, source.format, topic=b.topic(HOPPED), backfill="demo")
        await b.settle()
        yield World(b, Operator(b), offline)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed(world: World) -> None:
    """All months of the usage are closed."""
    status, out, err = await world.operator.type("close", str(Month(-1)), *BECAUSE)
    assert status == 0, out + err


def documents(folder: Path, suffix: str = ".json") -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_bytes()) for path in folder.glob(f"*{suffix}")]
    return {document["account"]: document for document in found}


def totals(found: dict[str, dict[str, Any]]) -> Totals:
    return {(account, each["currency"]): Decimal(each["total"]) for account, document in found.items() for each in document["invoices"]}


def added(items: list[dict[str, Any]], period: str) -> Totals:
    """Billed cost of line items by account and currency."""
    found: Totals = {}
    with localcontext(EXACT):
        for item in items:
            if item["BillingPeriodStart"].startswith(period) and not item.get("x_Withdrawn"):
                key = item["BillingAccountId"], item["BillingCurrency"]
                found[key] = found.get(key, Decimal(0)) + Decimal(item["BilledCost"])
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".part")}


def example() -> Any:
    return load(ROOT / "examples" / "invoice_job.py", "invoice_job")


async def test_what_is_not_closed_is_no_invoice(world: World, tmp_path: Path) -> None:
    said = await world.invoice("--period", MONTH, "--output", str(tmp_path), status=1)
    assert "is closed in 0 of 4 partitions: accounts left out: 1;" in said
    assert not (tmp_path / MONTH).exists()
    said = await world.invoice("--period", MONTH, "--output", str(tmp_path), "--estimate", "--format", "json")
    assert "1 estimated invoice " in said
    found = documents(tmp_path / MONTH, ".estimate.json")
    assert {document["status"] for document in found.values()} == {"estimate"}
    assert totals(found) == added(world.offline, MONTH)
    with localcontext(EXACT):
        _, still_open = await example().totals(month_number(MONTH), world.bed.stack.kafka, world.bed.topic(""))
    assert still_open


@pytest.mark.usefixtures("closed")
async def test_invoice_api_topic_and_offline_run_are_one_number(world: World, tmp_path: Path) -> None:
    latest: dict[str, dict[str, Any]] = {}
    for record in await world.bed.read("usage.rated"):
        item = json.loads(record.value or b"{}")
        if item["x_Revision"] > latest.get(item["x_LineItemId"], {"x_Revision": 0})["x_Revision"]:
            latest[item["x_LineItemId"]] = item
    months = sorted({item["BillingPeriodStart"][:7] for item in world.offline})
    assert MONTH in months
    assert len(months) == 4
    one_topic = (world.bed.folder / "ratemill.toml").read_text().replace(f'[[kafka.raw_topics]]\nname = "{DIRECT}"\nkeyed_by = "account"\n', "")
    (tmp_path / "api.toml").write_text(one_topic)  # the HTTP interface wants to know where usage that comes to it goes
    api = await asyncio.to_thread(Api, tmp_path, {"RATEMILL_CONFIG": str(tmp_path / "api.toml")})
    try:
        with api.client(await asyncio.to_thread(api.token, "costs:read")) as client:
            for month in months:
                wanted = added(world.offline, month)
                said = await world.invoice("--period", month, "--output", str(tmp_path))
                found = documents(tmp_path / month)
                assert f"{month}: {len(found)} final invoice" in said
                assert totals(found) == wanted, "`ratemill rate`"
                assert added(list(latest.values()), month) == wanted, "usage.rated"
                with localcontext(EXACT):
                    assert await example().totals(month_number(month), world.bed.stack.kafka, world.bed.topic("")) == (wanted, set())
                for account, document in found.items():
                    preview = client.get("/v1/invoices/preview", params={"account": account, "period": month}).json()
                    assert (preview["status"], preview["invoices"]) == (document["status"], document["invoices"])
                    assert document["status"] == "final"
    finally:
        api.stop()
    for account, document in documents(tmp_path / MONTH).items():
        preview = json.loads(await world.invoice(account, MONTH, "--json"))
        assert (preview["status"], preview["invoices"]) == ("final", document["invoices"])
        rows = list(csv.DictReader(io.StringIO((tmp_path / MONTH / f"{account}.csv").read_text())))
        lines = [line for each in document["invoices"] for part in ("usage", "adjustments", "corrections") for line in each[part]["lines"]]
        assert [(row["sku"], row["quantity"], row["cost"]) for row in rows] == [(line["sku"], line["quantity"], line["cost"]) for line in lines]


@pytest.mark.usefixtures("closed")
async def test_killed_at_any_of_its_steps_it_leaves_the_same_files(world: World, tmp_path: Path) -> None:
    async def killed(step: int, output: Path) -> Any:
        command = (str(KILLED), str(step), "invoice", "--period", MONTH, "--output", str(output))
        return await asyncio.to_thread(run, *command, cwd=tmp_path, env=world.environment)

    said = await killed(1_000_000, tmp_path / "whole")
    assert said.returncode == 0, said.stderr
    steps, wanted = int(said.stderr.splitlines()[-1]), files(tmp_path / "whole" / MONTH)
    assert len(wanted) == 3
    # Making the store, reading line items, and around the handover, which comes last.
    for step in (9, steps // 30, steps // 2, steps - 16, steps - 8, steps - 2):
        output = tmp_path / str(step)
        said = await killed(step, output)
        assert said.returncode == -signal.SIGKILL, f"{step} of {steps}: {said.stderr}"
        await world.invoice("--period", MONTH, "--output", str(output))
        assert files(output / MONTH) == wanted, f"killed at step {step} of {steps}"


@pytest.mark.usefixtures("closed")
async def test_a_focus_file_is_the_same_number_and_a_store_can_be_shared(world: World, tmp_path: Path) -> None:
    await world.invoice("--period", MONTH, "--output", str(tmp_path))
    ((account, currency), total), = totals(documents(tmp_path / MONTH)).items()
    for format, more in (("csv", ()), ("parquet", ("--store", str(tmp_path / ".invoicing.sqlite"), "--account", account))):
        file = tmp_path / f"focus.{format}"
        words = ("--version", "1.2", "--format", format, "--period", MONTH, "--output", str(file), *more)
        status, out, err = await world.operator.type("export", "focus", *words)
        assert status == 0, out + err
        assert "exact on every row" in out
        with localcontext(EXACT):
            rows = list(read_rows_of(file, format))
            assert sum(Decimal(row["BilledCost"] or "") for row in rows) == total
        assert {(row["BillingAccountId"], row["BillingCurrency"]) for row in rows} == {(account, currency)}
        assert len(rows) == sum(item["BillingPeriodStart"].startswith(MONTH) for item in world.offline)
    status, _, err = await world.operator.type("export", "focus", "--version", "1.4", "--scale", "2", "--output", str(tmp_path / "not"))
    assert (status, "say --scale" in err, (tmp_path / "not").exists()) == (2, True, False)


@pytest.mark.usefixtures("closed")
async def test_what_comes_late_is_a_correction_of_the_next_invoice(world: World, tmp_path: Path) -> None:
    await world.invoice("--period", MONTH, "--output", str(tmp_path))
    before = files(tmp_path / MONTH)
    item = next(item for item in world.offline if item["BillingPeriodStart"].startswith(MONTH))
    account, sku, unit = item["BillingAccountId"], item["SkuId"], item["PricingUnit"]
    late = {
        "specversion": "1.0", "id": "late", "source": "collector", "type": "usage", "subject": account, "time": f"{MONTH}-20T00:00:00Z",
        "data": {"sku": sku, "quantity": "3", "unit": unit},
    }  # fmt: skip
    await publish(world.bed, [late], HOPPED, backfill="demo")
    await world.bed.settle()
    await world.invoice("--period", MONTH, "--output", str(tmp_path))
    assert files(tmp_path / MONTH) == before
    await world.invoice("--period", str(Month()), "--output", str(tmp_path), "--estimate", "--account", account)
    (document,) = documents(tmp_path / str(Month()), ".estimate.json").values()
    preview = json.loads(await world.invoice(account, str(Month()), "--json"))
    assert (preview["status"], preview["invoices"]) == ("estimate", document["invoices"])
    assert [line["corrected"] for line in document["invoices"][0]["corrections"]["lines"]] == [MONTH]


class AsksTooCarelessly(InvoiceJob):
    """Takes the last stable offset for the end of a partition."""

    async def __aenter__(self) -> AsksTooCarelessly:
        await super().__aenter__()
        self._asking.end_offsets = self._ends  # type: ignore[method-assign]
        return self

    async def _ends(self, tps: Any) -> Any:
        return await (self._rated if tps[0].topic == self._topics.rated else self._control).end_offsets(tps)


@pytest.mark.parametrize(("kind", "holds"), [(InvoiceJob, True), (AsksTooCarelessly, False)])
async def test_final_waits_for_a_transaction_whose_end_has_not_come(
    world: World, stack: Stack, tmp_path: Path, kind: type[InvoiceJob], holds: bool
) -> None:
    """Kafka ends a transaction partition by partition: a receipt can be there a moment before the line items that belong to it."""
    prefix = f"late{uuid.uuid4().hex[:6]}."
    config = world.bed.config.model_copy(update={"kafka": world.bed.config.kafka.model_copy(update={"topic_prefix": prefix, "partitions": 1})})
    items = [decode_line_item(json.dumps(item).encode()) for item in world.offline if item["BillingPeriodStart"].startswith(MONTH)][:2]
    with localcontext(EXACT):
        total = sum(Decimal(item.billed_cost) for item in items)
    items = [_of_account(item, "acct", number + 1) for number, item in enumerate(items)]
    await ensure_topics(config)
    topics = topics_of(config)
    worker = AIOKafkaProducer(bootstrap_servers=stack.kafka, transactional_id=prefix, transaction_timeout_ms=60_000)
    async with worker:
        async with worker.transaction():
            await worker.send_and_wait(topics.rated, encode_line_item(items[0]), b"1", partition=0)
        await worker.begin_transaction()
        await worker.send_and_wait(topics.rated, encode_line_item(items[1]), b"2", partition=0)
        receipt = Receipt(
            control_id="0" * 32, partition=0, outcome="closed", next_offsets={}, book="", closed_through=month_number(MONTH), revision=2, at_ns=1
        )  # fmt: skip
        async with AIOKafkaProducer(bootstrap_servers=stack.kafka) as other:
            await other.send_and_wait(topics.control, encode_control(receipt), partition=0)
        store = Store(tmp_path / "store", topics.rated)
        async with kind(store, {"bootstrap_servers": stack.kafka}, topics) as job:
            reading = asyncio.create_task(job.catch_up())
            while store.position(topics.rated, 0) == 0:
                await asyncio.sleep(0.05)
            await asyncio.wait([reading], timeout=1)
            assert reading.done() != holds
            await worker.commit_transaction()
            await reading
        (handover,) = store.due()
        assert (Decimal(handover.invoice.invoices[0].total) == total) == holds
    store.close()


def _of_account(item: Any, account: str, revision: int) -> Any:
    item.billing_account_id, item.x_revision = account, revision
    return item
