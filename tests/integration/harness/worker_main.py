"""A worker process that dies, stalls or is broken on purpose: `python worker_main.py JSON`.

JSON: {"failpoints": [{"point", "lane", "after", "action": "kill" | "stop" | "raise" | "wait", "quiet", "request"}], "breaks": [name, …],
"deaf_s": seconds, "lifetime_s": seconds, "step": number, "mine": file, "beside": name, "own": topics}. quiet: act when no other lane
is in a transaction. request: count only what the lane does for a request of this kind, such as "close". deaf_s: how long a rebalance
goes unheard, so that a woken zombie surely writes before it learns of its loss. step: groups or events in one commit of a request's
work. mine: on SIGUSR2 the failpoint in this file is installed. beside: topics that a Ratemill writes (own) have this before their
names, so that a second one works on the same log.
Everything else comes from the environment, as for `ratemill worker`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from ratemill.schemas.errors import RatemillError
from ratemill.streams import failpoints
from ratemill.streams.config import load_config
from ratemill.streams.worker import run_worker

_open = [0]  # transactions under way in all lanes, counted if a failpoint is "quiet"
_answering: dict[str, str] = {}  # lane -> kind of the request that it works on now


def _action(spec: dict[str, Any]) -> Callable[[str], Awaitable[None]]:
    passes = 0

    async def act(where: str) -> None:
        nonlocal passes
        if not where.startswith(spec["lane"]) or ("request" in spec and _answering.get(where) != spec["request"]):
            return
        passes += 1
        if passes != spec["after"]:
            return
        while spec.get("quiet") and _open[0] > 1:  # our own lane's transaction is counted
            await asyncio.sleep(0.005)
        print(json.dumps({"failpoint": spec["point"], "where": where, "pass": passes, "action": spec["action"]}), file=sys.stderr, flush=True)
        if spec["action"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif spec["action"] == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif spec["action"] == "wait":
            await asyncio.sleep(spec["seconds"])
        else:
            raise OSError("failpoint")

    return act


def _install_from(file: str) -> None:
    with open(file) as given:
        spec = json.load(given)
    failpoints.install(spec["point"], _action(spec))


def _count_transactions() -> None:
    from ratemill.streams.ledger import Ledger

    real = Ledger._transaction

    async def counted(self: Any, *args: Any) -> dict[str, int]:
        _open[0] += 1
        try:
            return await real(self, *args)
        finally:
            _open[0] -= 1

    Ledger._transaction = counted  # type: ignore[method-assign]


def _note_requests() -> None:
    from ratemill.streams.lanes.answers import Answers

    real = Answers._answer

    async def noted(self: Any, offset: int, request: Any) -> None:
        _answering[self._lane.name] = request.__struct_config__.tag
        try:
            await real(self, offset, request)
        finally:
            del _answering[self._lane.name]

    Answers._answer = noted  # type: ignore[method-assign]


def _small_steps(step: int) -> None:
    from ratemill.streams.lanes import answers, shadowing

    answers.SWEPT_PER_COMMIT = answers.REVERTED_PER_COMMIT = shadowing.SWEPT_PER_COMMIT = step


def _beside(name: str, own: dict[str, str]) -> None:
    from ratemill.streams.topics import Topics

    real = Topics.of.__func__  # type: ignore[attr-defined]

    def of(cls: Any, kafka: Any) -> Any:
        return real(cls, kafka)._replace(**{field: f"{kafka.topic_prefix}{name}{topic}" for topic, field in own.items()})

    Topics.of = classmethod(of)  # type: ignore[assignment]


# -- negative controls: each takes one guarantee away --------------------------------------------------------------------


def _no_dedupe() -> None:
    from ratemill.streams.lanes import rate

    real = rate.Settings
    rate.Settings = lambda *args: real(*args)._replace(deduplicate=False)  # type: ignore[assignment,misc]


def _offsets_first() -> None:
    """Progress and source offsets in a transaction of their own, before the one with everything else."""
    from ratemill.streams.ledger import Ledger

    real = Ledger._transaction

    async def split(self: Any, producer: Any, outs: Any, offsets: Any) -> dict[str, int]:
        progress = [out for out in outs if out[0].endswith("ratemill.state.progress")]
        await producer.begin_transaction()
        for topic, partition, records in progress:
            for key, value, headers in records:
                await producer.send_and_wait(topic, value, key, partition, headers=headers)
        await producer.send_offsets_to_transaction(dict(offsets), self._kafka.group_id)
        await producer.commit_transaction()
        return await real(self, producer, [out for out in outs if out not in progress], offsets)

    Ledger._transaction = split  # type: ignore[method-assign]


def _no_fencing() -> None:
    """A transactional.id of its own for every process: the broker cannot tell an old owner from a new one."""
    from ratemill.streams import ledger

    real = ledger.AIOKafkaProducer

    def unfenced(**settings: Any) -> Any:
        settings["transactional_id"] += f"-{os.getpid()}"
        return real(**settings)

    ledger.AIOKafkaProducer = unfenced


def _random_ids() -> None:
    import uuid

    from ratemill.sinks import documents

    real = documents._read

    def read(item: Any) -> Any:
        entry = real(item)
        if isinstance(entry, documents.Entry):
            entry.id = uuid.uuid4().hex
        return entry

    documents._read = read


def _ack_first() -> None:
    """A line item is acknowledged (its offset committed) before Elasticsearch has answered for it."""
    from ratemill.streams.lanes.index import IndexLane

    under_way: set[asyncio.Task[Any]] = set()

    async def take(self: Any, batch: Any) -> int:
        items = [record.value for record in batch.records if record.value is not None]
        task = asyncio.ensure_future(self._sink.write(items))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        counters = self._progress.of(batch.tp.topic)
        counters.received += len(batch.records)
        counters.counted += len(batch.records)
        return len(batch.records)

    IndexLane.take = take  # type: ignore[method-assign]


def _float_money() -> None:
    """Quantity times unit price in floating point, where the line items of windows get their cost."""
    from decimal import Decimal

    from ratemill.streams.core.items import WindowWriter

    class Floating(Decimal):
        def __rmul__(self, quantity: Any) -> Decimal:
            return Decimal(repr(float(quantity) * float(self)))

    real = WindowWriter._template

    def template(self: WindowWriter, *args: Any) -> Any:
        text, unit_price, component = real(self, *args)
        return text, Floating(unit_price), component

    WindowWriter._template = template  # type: ignore[method-assign]


def _deaf(seconds: float) -> None:
    from ratemill.streams.app import RatemillWorker

    real = RatemillWorker._on_revoked

    async def late(self: Any, app: Any, revoked: Any, **kwargs: Any) -> None:
        if self._lanes:
            await asyncio.sleep(seconds)
        await real(self, app, revoked, **kwargs)

    RatemillWorker._on_revoked = late  # type: ignore[method-assign]


def _receipt_apart() -> None:
    """Receipts in a transaction of their own, behind that of what they are about."""
    from ratemill.streams.ledger import Ledger

    real = Ledger._transaction

    async def split(self: Any, producer: Any, outs: Any, offsets: Any) -> Any:
        receipts = [out for out in outs if out[0].endswith("ratemill.control")]
        done = await real(self, producer, [out for out in outs if out not in receipts], offsets)
        if receipts:
            await real(self, producer, receipts, offsets)
        return done

    Ledger._transaction = split  # type: ignore[method-assign]


def _forgets_requests() -> None:
    """What a request changes is written without a note that it was done: neither in the progress nor as the mark of an amended event."""
    from ratemill.streams.core.amendments import Amendments
    from ratemill.streams.lanes.answers import Answers

    real = Answers._receipt_of

    def receipt_of(self: Any, offset: int, request: Any, outcome: Any) -> Any:
        receipt = real(self, offset, request, outcome)
        self._lane.progress.control_offset = offset
        return receipt

    Answers._receipt_of = receipt_of  # type: ignore[method-assign]
    Amendments.put = lambda self, identity, mark: None  # type: ignore[method-assign]


def _no_receipts() -> None:
    """A worker that does not look where in the log a request took effect once."""
    from ratemill.streams.control_topic import Controls

    Controls.receipt = lambda self, control_id, partition: None  # type: ignore[method-assign]


def _small_hold() -> None:
    """Not a fault: records that wait for a request are read again, because next to none are kept."""
    from ratemill.streams.lanes import held

    held.QUEUED_RECORDS = 5


def _no_draft() -> None:
    """Not a fault: a worker that never hears of a draft."""
    from ratemill.streams.prices_topic import Books

    Books.draft = property(lambda self: None)  # type: ignore[assignment,method-assign]


def _deaf_shadow() -> None:
    """A shadow that goes through what is stored and misses what comes."""
    from ratemill.streams.core.shadow import Shadow

    Shadow.wants = lambda self, group: False  # type: ignore[method-assign]


def _drops_pending() -> None:
    """A worker that is to end throws away what it has taken since its last commit."""
    from ratemill.streams.lanes.base import Lane

    async def conclude(self: Any, within_s: float) -> None:
        await self.stop(within_s)

    Lane.conclude = conclude  # type: ignore[method-assign]


def _rates_again() -> None:
    """A worker that rates all groups of a partition again when it gets it."""
    from ratemill.streams.core.sweep import Wanted, rerate
    from ratemill.streams.lanes.answers import Answers
    from ratemill.streams.lanes.rate import RateLane

    own, real, due = RateLane.own, Answers.next, set[str]()

    async def owned(self: Any) -> Any:
        due.add(self.name)
        return await own(self)

    async def next_(self: Any) -> bool:
        if self._lane.name not in due or self._lane.progress.repriced:
            return await real(self)
        due.remove(self._lane.name)
        await self._write(rerate(self._lane.state, Wanted("", "", 0), b"", 1_000_000), "takeover", None)
        return True

    RateLane.own = owned  # type: ignore[method-assign]
    Answers.next = next_  # type: ignore[method-assign]


def _longest_first() -> None:
    """A worker that fetches from the partition with the longest backlog, as long as there is any."""
    from ratemill.streams.transport import Consumer

    real = Consumer._getmany

    async def getmany(self: Any, active_partitions: Any, timeout: float) -> Any:
        host = self.app.ratemill
        waiting = {tp: lane for tp in active_partitions or () if (lane := host.lane_of(tp)) is not None and lane._ready}
        ends = {tp: self.highwater(tp) for tp in waiting}  # None: not known before the first fetch
        behind = {tp: 1 << 30 if (end := ends[tp]) is None else end - lane.next_offsets.get(tp, 0) for tp, lane in waiting.items()}
        longest = {tp for tp, lag in behind.items() if lag == max(behind.values())}
        return await real(self, longest or active_partitions, timeout)

    Consumer._getmany = getmany  # type: ignore[method-assign]


def _starts_together() -> None:
    """Not a fault: a worker that takes no record before each of its partitions is ready to."""
    from ratemill.streams.transport import Consumer

    real = Consumer._getmany

    async def getmany(self: Any, active_partitions: Any, timeout: float) -> Any:
        lanes = [self.app.ratemill.lane_of(tp) for tp in active_partitions or ()]
        if all(lane is not None and lane._ready for lane in lanes):
            return await real(self, active_partitions, timeout)
        await self.sleep(0.02)
        return {}

    Consumer._getmany = getmany  # type: ignore[method-assign]


def _deaf_to_schemas() -> None:
    """A worker that takes any schema for its own."""
    from ratemill.schemas import control, packed
    from ratemill.streams import prices_topic, progress, restore
    from ratemill.streams.lanes import rate

    for module in (control, prices_topic, progress):
        module.refuse_newer = lambda value, known, where: None  # type: ignore[attr-defined]
    real = progress.decode_progress
    mine = lambda value, where="": real(value.replace(b'"schema":2', b'"schema":1'), where)  # noqa: E731
    rate.decode_progress = restore.decode_progress = mine
    head = packed._decode_head
    packed._decode_head = lambda value: found if (found := head(value)).version == packed.VERSION else packed._Head(0)  # 0: of no known version


def _knows_packed_2() -> None:
    """Not a fault: the next Ratemill, to which packed events of version 2 are the usual ones."""
    from ratemill.schemas import packed

    packed._decode_head = lambda value: packed._Head(packed.VERSION)  # its records only got longer


def _loses_markers() -> None:
    """From its sixth commit on rate-0 writes transactions that Kafka's coordinator never hears of, so no marker ever ends them.

    To the worker all is well. Kafka must be told not to ask the coordinator when it is given records.
    """
    from aiokafka.protocol import transaction
    from ratemill.streams.ledger import Ledger

    real, commits, deaf = Ledger._transaction, Counter[str](), list[Any]()

    def turn_deaf(client: Any) -> None:
        send = client.send

        async def said(node: int, request: Any, **options: Any) -> Any:
            if isinstance(request, transaction.AddPartitionsToTxnRequest):
                return transaction.AddPartitionsToTxnResponse_v0(0, [(topic, [(number, 0) for number in its]) for topic, its in request._topics])
            if isinstance(request, transaction.AddOffsetsToTxnRequest):
                return transaction.AddOffsetsToTxnResponse_v0(0, 0)
            if isinstance(request, transaction.EndTxnRequest):
                return transaction.EndTxnResponse_v0(0, 0)
            return await send(node, request, **options)

        client.send = said
        deaf.append(client)

    async def lost(self: Any, producer: Any, *args: Any) -> Any:
        commits[self._name] += 1
        if self._name != "rate-0" or commits[self._name] <= 5:
            return await real(self, producer, *args)
        if producer.client not in deaf:
            turn_deaf(producer.client)
        done = await real(self, producer, *args)
        print(json.dumps({"event": "lost_markers", "commit": commits[self._name]}), file=sys.stderr, flush=True)
        return done

    Ledger._transaction = lost  # type: ignore[method-assign]


def _impatient() -> None:
    """Not a fault: a worker that waits 4 s for a transaction to end, not 90."""
    from ratemill.streams import restore

    restore.STALLED_S = 4.0


BREAKS = {
    "no_dedupe": _no_dedupe, "offsets_first": _offsets_first, "no_fencing": _no_fencing, "random_ids": _random_ids, "no_draft": _no_draft,
    "deaf_shadow": _deaf_shadow, "receipt_apart": _receipt_apart, "forgets_requests": _forgets_requests, "no_receipts": _no_receipts,
    "small_hold": _small_hold, "ack_first": _ack_first, "float_money": _float_money, "drops_pending": _drops_pending, "rates_again": _rates_again,
    "longest_first": _longest_first, "deaf_to_schemas": _deaf_to_schemas, "knows_packed_2": _knows_packed_2,
    "loses_markers": _loses_markers, "impatient": _impatient, "starts_together": _starts_together,
}  # fmt: skip


def main() -> int:
    """Run one worker."""
    spec = json.loads(sys.argv[1])
    signal.alarm(int(spec.get("lifetime_s", 180)))
    for name in spec.get("breaks", ()):
        BREAKS[name]()
    if spec.get("deaf_s"):
        _deaf(spec["deaf_s"])
    if any(point.get("quiet") for point in spec.get("failpoints", ())):
        _count_transactions()
    if any("request" in point for point in spec.get("failpoints", ())):
        _note_requests()
    if spec.get("step"):
        _small_steps(spec["step"])
    if spec.get("beside"):
        _beside(spec["beside"], spec["own"])
    for point in spec.get("failpoints", ()):
        failpoints.install(point["point"], _action(point))
    if spec.get("mine"):
        signal.signal(signal.SIGUSR2, lambda *_: _install_from(spec["mine"]))
    try:
        return run_worker(load_config())
    except RatemillError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
