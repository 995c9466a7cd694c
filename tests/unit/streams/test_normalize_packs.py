"""The lane `normalize` packs events while they come: what waits for a commit takes a sixth of what decoded events would."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from aiokafka import TopicPartition
from fuzzing.checks import NOW, Record, context_of
from ratemill.schemas.packed import unpack
from ratemill.streams.lanes.base import Batch
from ratemill.streams.lanes.normalize import EVENTS_PER_RECORD, NormalizeLane
from ratemill.streams.lanes.partitions import account_partition

TP = TopicPartition("raw", 0)
ACCOUNTS = [f"account-{n}" for n in range(7)]


class Ledger:
    """Keeps what was to be written to `usage.events`."""

    def __init__(self) -> None:
        self.written: list[dict[int, list[bytes]]] = []

    async def commit(self, outs: Iterable[tuple[str, int, Any]], _: Any) -> None:
        self.written.append({target: [value for _, value, _ in records] for topic, target, records in outs if topic == "usage.events"})


def batch(first: int, count: int) -> Batch:
    """Records of two events each, of accounts of both partitions."""
    records = []
    for offset in range(first, first + count):
        events = [
            {"specversion": "1.0", "id": f"{offset}-{n}", "source": "s", "type": "t", "subject": ACCOUNTS[(offset + n) % len(ACCOUNTS)],
             "time": "2026-07-16T13:00:00Z", "data": {"sku": "s", "quantity": "1", "unit": "u"}}
            for n in range(2)
        ]  # fmt: skip
        records.append(Record(offset, 0, None, json.dumps(events).encode(), ()))
    return Batch(1, 1, TP, records)  # type: ignore[arg-type]


async def test_events_are_packed_as_they_come_and_each_goes_out_once() -> None:
    context = context_of("cloudevents", False)
    context = context._replace(clock_ns=lambda: NOW, partitions={context.topics.progress: 2})
    lane, ledger = NormalizeLane(context, TP), Ledger()
    lane.ledger = ledger  # type: ignore[assignment]
    for first, counts in ((0, (300, 1_200, 10)), (1_510, (400,))):
        for count in counts:
            await lane.take(batch(first, count))
            first += count
            assert all(len(part) < EVENTS_PER_RECORD for waiting in lane._out.values() for part in waiting)
        await lane.commit()
    assert (len(ledger.written), lane._out, lane._packed) == (2, {}, {})
    for written, begin, end in zip(ledger.written, (0, 1_510), (1_510, 1_910), strict=True):
        wanted: dict[int, list[tuple[str, int, int]]] = {}
        for offset in range(begin, end):
            for n in range(2):
                target = account_partition(ACCOUNTS[(offset + n) % len(ACCOUNTS)], 2)
                wanted.setdefault(target, []).append((f"{offset}-{n}", offset, n))
        assert len(wanted) == 2
        records = {target: [unpack(value) for value in values] for target, values in written.items()}
        found = {
            target: [(e.id, o, i) for its in packed for e, o, i in zip(its.events, its.offsets, its.indexes, strict=True)]
            for target, packed in records.items()
        }
        assert found == wanted
        for packed in records.values():
            assert {len(its.events) for its in packed[:-1]} <= {EVENTS_PER_RECORD}
