"""What must hold: at each commit, and when everything has come to rest."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import orjson
from aiokafka import TopicPartition
from harness.oracle import Row, differences, rows_of_line_items
from harness.traffic import DIRECT, HOPPED
from ratemill.schemas.control import Receipt, decode_control
from ratemill.streams.control_topic import partitions_concerned
from ratemill.streams.progress import Progress, decode_progress
from ratemill.streams.topics import Topics

from .broker import Entry, Partition
from .traffic import Case
from .workers import config_of
from .world import World

if TYPE_CHECKING:
    from .workers import Host

__all__ = ["Auditor"]


class Auditor:
    """Looks at every transaction as it becomes visible, and at everything at the end."""

    def __init__(self, world: World, case: Case, hosts: list[Host]) -> None:
        self.world = world
        self.case = case
        self.hosts = hosts
        config = config_of(world.plan.partitions, 1.0, 0)
        self.topics = Topics.of(config.kafka)
        self.progress: dict[str, Progress] = {}
        self.receipts: Counter[tuple[str, int]] = Counter()
        self.wanted_receipts = Counter(
            {(request.id, number): 1 for _, request in case.requests for number in partitions_concerned(config, request)}
        )
        world.broker.on_commit = self.committed

    # -- at each commit ----------------------------------------------------------------------------------------------

    def committed(self, partition: Partition, entries: list[Entry]) -> None:
        """One partition's share of a transaction has become visible."""
        if partition.tp.topic == self.topics.progress:
            for entry in entries:
                self._progress(decode_progress(entry.value or b""))
        elif partition.tp.topic == self.topics.control:
            for entry in entries:
                receipt = decode_control(entry.value or b"")
                if isinstance(receipt, Receipt):
                    self.receipts[receipt.control_id, receipt.partition] += 1

    def _progress(self, new: Progress) -> None:
        old = self.progress.get(new.lane)
        self.progress[new.lane] = new
        for topic, counters in new.sources.items():
            if not counters.balanced:
                self.world.violate(f"{new.lane}: committed counters of {topic} do not balance: {counters}")
        if old is None:
            return
        if new.revision <= old.revision:
            self.world.violate(f"{new.lane}: revision {new.revision} was committed behind {old.revision}: a worker that does not own it has written")
        for topic, offset in old.next_offsets.items():
            if new.next_offsets.get(topic, 0) < offset:
                self.world.violate(f"{new.lane}: the offset of {topic} went back from {offset} to {new.next_offsets.get(topic)}")

    # -- at rest -----------------------------------------------------------------------------------------------------

    def unfinished(self, digest: str) -> str:
        """What has not been done yet; "" when everything is."""
        broker, topics = self.world.broker, self.topics
        for number in range(self.world.plan.partitions):
            for topic in (*topics.hopped, *topics.rate_sources, topics.rated):
                tp = TopicPartition(topic, number)
                partition = broker.partition(tp)
                if partition.open:
                    return f"{topic}-{number} has an open transaction"
                if broker.group_offsets.get(tp, 0) <= partition.last_data:
                    return f"{topic}-{number} is consumed to {broker.group_offsets.get(tp, 0)}, its last record is {partition.last_data}"
            progress = self.progress.get(f"rate-{number}")
            if progress is not None and progress.book != digest:
                return f"rate-{number} rates by {progress.book[:12]}, in force is {digest[:12]}"
        if missing := self.wanted_receipts - self.receipts:
            return f"requests without a receipt: {missing}"
        if waiting := broker.open_transactions():
            return f"open transactions: {', '.join(waiting)}"
        return ""

    def dead_lanes(self) -> list[str]:
        """Lanes that ended although nobody stopped them; in production their worker ends itself then."""
        found = []
        for host in self.hosts:
            if host.up and host.worker is not None:
                for lane in host.worker.lanes:
                    try:
                        lane.check()
                    except BaseException as error:
                        found.append(f"{host.name}: {lane.name} ended: {error!r}")
        return found

    def verdict(self) -> list[str]:
        """Everything that differs from what the oracle says; [] when nothing does."""
        wanted = self.case.expected
        latest, found = self._latest()
        found += self._line_items(latest)
        if self.receipts != self.wanted_receipts:
            found.append(f"receipts: {self.receipts - self.wanted_receipts} too many")
        found += self._documents(latest)
        found += differences("usage.dead-letter", wanted.dead, self._dead())
        found += self._conservation()
        for lane, progress in self.progress.items():
            for topic, offset in progress.next_offsets.items():
                committed = self.world.broker.group_offsets.get(TopicPartition(topic, int(lane.rsplit("-", 1)[1])))
                if committed != offset:
                    found.append(f"{lane}: the group is at {committed} of {topic}, the progress at {offset}")
        return found

    def _line_items(self, latest: dict[str, tuple[int, bytes]]) -> list[str]:
        items = [orjson.loads(value) for _, value in latest.values()]
        texts = [_texts(item) for item in items if not item.get("x_Withdrawn")]
        if len(texts) == len(self.case.texts) and self.case.texts.issuperset(texts) and len(set(texts)) == len(texts):
            return []  # the usual case, for a tenth of the time
        wanted, got = self.case.expected.rows, rows_of_line_items(items)
        if self.case.closed:
            return differences("usage.rated, sums", _sums(wanted), _sums(got))
        if self.case.empty:
            wanted, got = _without_empty(wanted), _without_empty(got)
        return differences("usage.rated", wanted, got)

    def _entries(self, topic: str) -> list[Entry]:
        partitions = [self.world.broker.partition(TopicPartition(topic, number)) for number in range(self.world.plan.partitions)]
        return [entry for partition in partitions for entry in partition.committed()]

    def _latest(self) -> tuple[dict[str, tuple[int, bytes]], list[str]]:
        """(revision, line item) by id, and where revisions do not grow."""
        latest: dict[str, tuple[int, bytes]] = {}
        wrong = []
        for entry in self._entries(self.topics.rated):
            value = entry.value or b"{}"
            item = orjson.loads(value)
            id_, revision = item["x_LineItemId"], item["x_Revision"]
            if id_ in latest and revision <= latest[id_][0]:
                wrong.append(f"usage.rated: revision {revision} of {id_} at offset {entry.offset} stands behind {latest[id_][0]}")
            latest[id_] = revision, value
        return latest, wrong[:3]

    def _documents(self, latest: dict[str, tuple[int, bytes]]) -> list[str]:
        """Elasticsearch must have the very bytes of the last revision of each line item, with sums put in at their end."""
        documents = self.world.cluster.documents()
        missing, extra = latest.keys() - documents.keys(), documents.keys() - latest.keys()
        other = [
            id_
            for id_, (revision, value) in latest.items()
            if id_ in documents and not (documents[id_][0] == revision and documents[id_][1].startswith(value[:-1]))
        ]
        if not (missing or extra or other):
            return []
        return [f"Elasticsearch: of {len(latest)} line items {len(missing)} are missing, {len(other)} differ; {len(extra)} are not in usage.rated"]

    def _dead(self) -> Counter[tuple[str, int, int, bool]]:
        dead: Counter[tuple[str, int, int, bool]] = Counter()
        for entry in self._entries(self.topics.dead_letter):
            headers = dict(entry.headers)
            place = headers["ratemill-origin-topic"].decode(), int(headers["ratemill-origin-partition"]), int(headers["ratemill-origin-offset"])
            dead[*place, headers["ratemill-reason"] == b"conflict"] += 1
        return dead

    def _conservation(self) -> list[str]:
        wanted, totals, found = self.case.expected, Counter[str](), []
        for lane, progress in self.progress.items():
            agent, number = lane.split("-")[0], int(lane.rsplit("-", 1)[1])
            for topic, c in progress.sources.items():
                totals.update({f"{agent} received": c.received, f"{agent} counted": c.counted, f"{agent} duplicates": c.duplicates})
                totals[f"{agent} dead"] += c.dead_lettered
                if topic in (DIRECT, HOPPED) and c.received != wanted.received[topic, number]:
                    found.append(f"{lane}: received {c.received} of the {wanted.received[topic, number]} events in {topic}")
                if agent == "normalize" and c.dead_lettered != wanted.poison[topic, number]:
                    found.append(f"{lane}: {c.dead_lettered} dead letters, expected {wanted.poison[topic, number]}")
        poison = sum(count for (topic, _), count in wanted.poison.items() if topic == HOPPED)
        checks = {
            "rate received": sum(wanted.received.values()) - poison,
            "rate counted": wanted.unique,
            "rate duplicates": wanted.duplicates,
            "rate dead": sum(wanted.poison.values()) - poison + wanted.conflicts,
            "index dead": 0,
        }
        return found + [f"{name}: {totals[name]}, expected {count}" for name, count in checks.items() if totals[name] != count]


def _sums(rows: Counter[Row]) -> Counter[tuple[str, str, Fraction]]:
    """What each account's SKU costs, with its corrections."""
    sums: dict[tuple[str, str], Fraction] = {}
    for row, times in rows.items():
        sums[row.account, row.sku] = sums.get((row.account, row.sku), Fraction(0)) + row.cost * times
    return Counter((account, sku, cost) for (account, sku), cost in sums.items() if cost)


def _without_empty(rows: Counter[Row]) -> Counter[Row]:
    return Counter({row: times for row, times in rows.items() if row.priced or row.cost})


def _texts(item: dict[str, Any]) -> tuple[Any, ...]:
    """The row of a line item, with its amounts as they are written."""
    get = item.get
    return (
        item["BillingAccountId"], item["SkuId"], item["ChargePeriodStart"], item["ChargePeriodEnd"], get("RegionId") or "", get("ResourceId") or "",
        get("x_Dimensions") or "", item["x_Component"], get("ConsumedQuantity"), item["PricingQuantity"], item["BilledCost"], bool(get("x_Unpriced")),
    )  # fmt: skip
