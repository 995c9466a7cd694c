"""Negative controls: the production code with one guarantee taken away. Each must be caught."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import TopicPartition
from harness.worker_main import BREAKS
from msgspec.structs import replace
from ratemill.sinks import documents, elasticsearch
from ratemill.streams import ledger, restore
from ratemill.streams.core import groups
from ratemill.streams.core.store import Effects
from ratemill.streams.lanes.base import Batch, Lane
from ratemill.streams.lanes.index import IndexLane
from ratemill.streams.lanes.rate import RateLane
from ratemill.streams.ledger import Ledger, Out, Receipt, Unsettled

from .world import World

__all__ = ["BREACHES"]


def no_fencing() -> None:
    """A transactional.id of its own for every process: the broker cannot tell an old owner from a new one."""
    real = ledger.AIOKafkaProducer

    def unfenced(**settings: Any) -> Any:
        process = asyncio.get_running_loop()
        settings["transactional_id"] += f"-{process.name}-{process.began}"  # type: ignore[attr-defined]
        return real(**settings)

    ledger.AIOKafkaProducer = unfenced


def random_ids() -> None:
    """A document id of its own for every write."""
    real = documents._read

    def read(item: Any) -> Any:
        entry = real(item)
        if isinstance(entry, documents.Entry):
            entry.id = f"{World.current().scheduler.random.getrandbits(64):x}"
        return entry

    documents._read = read


def no_versions() -> None:
    """Writes to Elasticsearch without versions: whatever comes last stands there."""
    real = documents.encode
    elasticsearch.encode = documents.encode = lambda entry, names: real(entry, names).replace(  # type: ignore[attr-defined]
        b',"version":%d,"version_type":"external"' % entry.revision, b"", 1
    )


def unknown_is_committed() -> None:
    """A transaction whose outcome is unknown is taken for committed."""
    real = Ledger.commit

    async def commit(self: Ledger, outs: Sequence[Out], offsets: dict[TopicPartition, int]) -> Receipt:
        try:
            return await real(self, outs, offsets)
        except Unsettled:
            await self.fence()
            return Receipt({}, {})

    Ledger.commit = commit  # type: ignore[method-assign,assignment]


def swap_before_commit() -> None:
    """The local store takes a commit over before it is one."""
    real = RateLane.write

    async def write(self: RateLane, effects: Effects, receipt: Any = None) -> None:
        effects = effects._replace(line_items=list(effects.line_items))
        if self._store is not None:
            self._store.write(Effects((), list(effects.puts), effects.ids, effects.bucket, []), {})
        await real(self, effects, receipt)

    RateLane.write = write  # type: ignore[method-assign]


def offsets_before_answer() -> None:
    """The index lane does not wait for Elasticsearch."""

    async def take(self: IndexLane, batch: Batch) -> int:
        items = [record.value for record in batch.records if record.value is not None]
        writing = asyncio.ensure_future(self._sink.write(items))
        self.__dict__.setdefault("writing", set()).add(writing)
        counters = self._progress.of(batch.tp.topic)
        counters.received += len(batch.records)
        counters.counted += len(batch.records)
        return len(batch.records)

    IndexLane.take = take  # type: ignore[method-assign]


def float_money() -> None:
    """Quantity times unit price in floating point."""
    real = groups.window_item

    def window_item(*args: Any, **options: Any) -> Any:
        item = real(*args, **options)
        if item.list_unit_price is None:
            return item
        cost = repr(float(item.pricing_quantity) * float(item.list_unit_price)).removesuffix(".0")
        return replace(item, billed_cost=cost, effective_cost=cost, list_cost=cost, contracted_cost=cost)

    groups.window_item = window_item


def goes_on_unanswered() -> None:
    """A producer is used again after one of its requests went without an answer."""
    Ledger._watch = lambda self, producer: None  # type: ignore[method-assign]


def stable_end() -> None:
    """Restoring ends at the last stable offset."""
    real = restore.AIOKafkaConsumer
    restore.AIOKafkaConsumer = lambda **settings: real(**{**settings, "isolation_level": "read_committed"})


def uncommitted() -> None:
    """Restoring takes what was never committed."""
    real = restore.AIOKafkaConsumer
    restore.AIOKafkaConsumer = lambda **settings: real(**{**settings, "isolation_level": "read_uncommitted"})


def serials_ignored() -> None:
    """A lane does not notice that a batch is missing, or comes twice."""
    real = Lane.put

    def put(self: Lane, batch: Batch) -> None:
        numbers = self._serials.get(batch.tp)
        if numbers is not None:
            numbers[1] = batch.serial - 1
        real(self, batch)

    Lane.put = put  # type: ignore[method-assign]


def incarnations_ignored() -> None:
    """A lane takes batches that were fetched before it was started anew."""
    real = Lane.put

    def put(self: Lane, batch: Batch) -> None:
        self._serials.setdefault(batch.tp, [0, 0])[1] = batch.serial - 1
        real(self, batch._replace(incarnation=self.incarnation))

    Lane.put = put  # type: ignore[method-assign]


BREACHES: dict[str, Callable[[], None]] = {
    "no deduplication": BREAKS["no_dedupe"],
    "offsets before line items": BREAKS["offsets_first"],
    "no fencing": no_fencing,
    "random document ids": random_ids,
    "no versions of documents": no_versions,
    "an unknown outcome is a commit": unknown_is_committed,
    "swap before commit": swap_before_commit,
    "offsets before Elasticsearch answers": offsets_before_answer,
    "float money": float_money,
    "a producer goes on after a lost answer": goes_on_unanswered,
    "restoring ends at the last stable offset": stable_end,
    "restoring reads what was not committed": uncommitted,
    "a missing batch goes unnoticed": serials_ignored,
    "batches of an earlier incarnation are taken": incarnations_ignored,
}
