"""Typing commands at a running Ratemill, publishing single events to it, and comparing what it wrote with what must stand there.

The comparison is with `rated`: the offline rating of the same events and requests, whose amounts the tests work out by hand where
they name any. It says so when a line item differs in one byte, when Elasticsearch differs from usage.rated, when a revision did not
grow, and when a request was not answered exactly once by each partition that it concerns.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import localcontext
from fractions import Fraction
from typing import Any

import yaml
from aiokafka import AIOKafkaProducer, TopicPartition
from ratemill.cli.offline import OfflineRating
from ratemill.collectors.files import Piece
from ratemill.metering.tariff import parse_tariff
from ratemill.pricing.money import EXACT
from ratemill.schemas.control import Receipt, Request, decode_control
from ratemill.schemas.line_item import PROVENANCE_FIELDS
from ratemill.streams.control_topic import partitions_concerned
from ratemill.streams.restore import read_to_end

from .traffic import DIRECT, HOPPED
from .verdict import latest, read_documents, revisions
from .workers import Bed
from .zygote import RATEMILL, run

__all__ = [
    "BECAUSE", "Month", "Operator", "control_records", "cost", "differing", "event", "line_items", "mistakes", "publish", "rated", "standing",
    "worth",
]  # fmt: skip

BECAUSE = ("--reason", "because", "--yes")
Event = dict[str, Any]
Item = dict[str, Any]


class Month:
    """A calendar month in UTC, some months from the current one."""

    def __init__(self, offset: int = 0, now: datetime | None = None) -> None:
        now = now or datetime.now(UTC)
        number = 12 * now.year + now.month - 1 + offset
        self.start = datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
        self.end = datetime((number + 1) // 12, (number + 1) % 12 + 1, 1, tzinfo=UTC)

    def __str__(self) -> str:
        return f"{self.start:%Y-%m}"

    def at(self, hour: int, minute: int = 0) -> str:
        """An hour of its last two days, 0 to 47: the previous month's are young enough for live usage whatever the day is."""
        return _stamp(self.end - timedelta(hours=48 - hour) + timedelta(minutes=minute))

    def first(self, minute: int = 0) -> str:
        """A minute of its first hour, 0 to 4: not in the future, even when the month has just begun."""
        return _stamp(self.start + timedelta(minutes=minute))


def _stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def event(account: str, id: str, time: str, quantity: str, sku: str = "store", unit: str = "GB", **data: Any) -> Event:
    """A CloudEvent in the plain form."""
    return {
        "specversion": "1.0", "id": id, "source": "collector", "type": "usage", "subject": account, "time": time,
        "data": {"sku": sku, "quantity": quantity, "unit": unit, **data},
    }  # fmt: skip


async def publish(b: Bed, events: Iterable[Event], topic: str = "", backfill: str = "") -> None:
    """Publish events: to the topic keyed by account and the one that is not, in turn, or to one of them."""
    producer = AIOKafkaProducer(bootstrap_servers=b.stack.kafka, acks="all", enable_idempotence=True)
    headers = [("ratemill-backfill", backfill.encode())] if backfill else None
    await producer.start()
    try:
        for number, each in enumerate(events):
            chosen = topic or (DIRECT, HOPPED)[number % 2]
            await producer.send(b.topic(chosen), json.dumps(each).encode(), str(each["subject"]).encode(), headers=headers)
        await producer.flush()
    finally:
        await producer.stop()


class Operator:
    """A person at a terminal."""

    def __init__(self, b: Bed) -> None:
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_")}
        self.environment |= {"USER": "Ada", "RATEMILL_CONFIG": str(b.folder / "ratemill.toml")}
        self._folder = b.folder

    async def type(self, *arguments: str) -> tuple[int, str, str]:
        """Run `ratemill …`: (exit status, output, errors)."""
        said = await asyncio.to_thread(run, *RATEMILL, *arguments, cwd=self._folder, env=self.environment, timeout=150)
        return said.returncode, said.stdout, said.stderr

    async def ask(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        """Make a request and wait for what comes of it; as `--json` prints it. status: the exit status that must come."""
        got, out, err = await self.type(*arguments, *BECAUSE, "--json")
        assert got == status, f"{arguments}: {out} {err}"
        answer: dict[str, Any] = json.loads(out)
        return answer

    async def put(self, *arguments: str) -> str:
        """Make a request and do not wait; its id."""
        return str((await self.ask(*arguments, "--timeout", "0"))["id"])

    async def wait(self, request_id: str) -> dict[str, Any]:
        """Wait for what comes of a request."""
        got, out, err = await self.type("control", "wait", request_id, "--json")
        assert got in (0, 1), err
        answer: dict[str, Any] = json.loads(out)
        assert not answer["waiting"], answer
        return answer


# -- what stands ---------------------------------------------------------------------------------------------------------


async def line_items(b: Bed) -> dict[str, Item]:
    """Line items of usage.rated as they stand, by id; withdrawn ones left out."""
    return {id: item for id, item in latest(await b.read("usage.rated")).items() if not item.get("x_Withdrawn")}


def cost(items: Iterable[Item], **wanted: str | None) -> Fraction:
    """Σ BilledCost of the line items with these fields, such as SkuId="store"."""
    return sum((Fraction(item["BilledCost"]) for item in items if all(item.get(name) == value for name, value in wanted.items())), Fraction(0))


def worth(items: Iterable[Item]) -> dict[tuple[str, str, str], Fraction]:
    """What each month came to in truth, by account and SKU: its line items and the corrections that name it. Zeros are left out."""
    found: dict[tuple[str, str, str], Fraction] = {}
    for item in items:
        name = item["BillingAccountId"], item["SkuId"], item.get("x_CorrectedPeriod") or item["BillingPeriodStart"][:7]
        found[name] = found.get(name, Fraction(0)) + Fraction(item["BilledCost"])
    return {name: amount for name, amount in found.items() if amount}


def standing(items: dict[str, Item]) -> dict[str, bytes]:
    """Line items by id as bytes, without the fields that tell how they came about."""
    return {id: json.dumps({name: value for name, value in item.items() if name not in PROVENANCE_FIELDS}).encode() for id, item in items.items()}


async def control_records(b: Bed) -> tuple[list[Request], list[Receipt]]:
    """Everything committed on ratemill.control: requests and receipts, each in log order."""
    requests: list[Request] = []
    receipts: list[Receipt] = []
    async for _, records in read_to_end(b.config.kafka, {TopicPartition(b.topic("ratemill.control"), 0): 0}):
        for record in records:
            decoded = decode_control(record.value)
            if isinstance(decoded, Receipt):
                receipts.append(decoded)
            else:
                requests.append(decoded)
    return requests, receipts


# -- what must stand -----------------------------------------------------------------------------------------------------


def rated(prices: Sequence[dict[str, Any]], *steps: Event | Sequence[Event] | Request, **tariff: Any) -> dict[str, bytes]:
    """What `ratemill rate` makes of events and requests in this order: as `standing`."""
    with localcontext(EXACT):
        text = yaml.safe_dump({"currency": "USD", "prices": list(prices), **tariff}, sort_keys=False)
        refused: list[Any] = []
        rating = OfflineRating(parse_tariff(text, "test"), 3_600, refused.append)
        for step in steps:
            if isinstance(step, dict | list | tuple):
                events = [step] if isinstance(step, dict) else step
                rating.add([Piece("test", 1, json.dumps(each).encode()) for each in events], "cloudevents")
            else:
                rating.answer(step)  # type: ignore[arg-type]
        assert not refused, refused
        return standing({item["x_LineItemId"]: item for item in (json.loads(text) for _, text in rating.line_items())})


def differing(where: str, wanted: dict[str, bytes], got: dict[str, bytes]) -> list[str]:
    """Nothing when both hold the same bytes; else how many line items differ, and the first of them."""
    wrong = sorted(id for id in wanted.keys() | got.keys() if wanted.get(id) != got.get(id))
    if not wrong:
        return []
    lines = [f"{where}: {len(wrong)} line items differ of the {len(wanted)} that should be there; {len(got)} are"]
    for id in wrong[:4]:
        lines += [f"  - {wanted.get(id, b'nothing').decode()}", f"  + {got.get(id, b'nothing').decode()}"]
    return lines


async def mistakes(b: Bed, wanted: dict[str, bytes], *, elasticsearch: bool = True, lives: int = 1) -> list[str]:
    """Everything in which usage.rated, Elasticsearch and the receipts are not as they must be; [] when all is well.

    lives: how many Ratemills have answered each request.
    """
    records = await b.read("usage.rated")
    items = {id: item for id, item in latest(records).items() if not item.get("x_Withdrawn")}
    found = revisions(records) + differing("usage.rated", wanted, standing(items))
    if elasticsearch:
        documents = [document for document in await read_documents(b) if not document.get("x_Withdrawn")]
        if len(documents) != len({document["x_LineItemId"] for document in documents}):
            found.append("Elasticsearch: a line item stands there twice")
        found += differing("Elasticsearch", _sorted(items), _sorted({document["x_LineItemId"]: document for document in documents}))
    requests, receipts = await control_records(b)
    answered = Counter((receipt.control_id, receipt.partition) for receipt in receipts)
    owed = Counter([(request.id, number) for request in requests for number in partitions_concerned(b.config, request)] * lives)
    if answered != owed:
        found.append(f"receipts: {sum((owed - answered).values())} are missing, {sum((answered - owed).values())} are not expected")
    return found


def _sorted(items: dict[str, Item]) -> dict[str, bytes]:
    """Whole line items, their fields in one order."""
    return {id: json.dumps(item, sort_keys=True).encode() for id, item in items.items()}
