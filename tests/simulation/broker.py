"""A Kafka that fits in memory, with transactions as the protocol has them. Written from the protocol's published contract (KIP-98, KIP-360,
KIP-890 part 1), as a client of API versions before KIP-890 part 2 meets it, which is what aiokafka is.

Modelled:

* A partition is a log. Records and transaction markers take one offset each. The last stable offset is the first offset of the oldest open
  transaction; `read_committed` ends there, leaves out aborted records and markers, and its position passes both.
* A transactional id has a producer id and an epoch. `InitProducerId` raises the epoch; an open transaction of the previous holder is aborted
  first, and until its markers are written the answer is "concurrent transactions, ask again". Every request of an older epoch is refused.
* `EndTxn` decides, and is answered, before the markers are written; each partition gets its marker some time later, so a transaction becomes
  visible partition by partition. Until then the next transaction cannot begin. Asked again, `EndTxn` says what it said before.
* Offsets in a transaction count when the marker for the group is written.
* Producing: the broker drops a batch that it has (same producer, epoch and sequence) and answers as before; it refuses a gap in the
  sequence, an older epoch, and (KIP-890 part 1) a partition that is not in an open transaction.
* A transaction older than its timeout is aborted by the coordinator, which fences its producer.
* Compaction: what `compact` removes is never the last committed record of a key, nor behind the last stable offset; offsets keep their gaps.

Not modelled: replication and the loss of acknowledged data, retention by time, quotas, several brokers with a coordinator each
(requests may still arrive in any order, see network.py), group members' own offset commits (Ratemill makes none).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import ConcurrentTransactions, InvalidProducerEpoch, InvalidTxnState, OutOfOrderSequenceNumber

from .scheduler import START_NS, Scheduler

__all__ = ["Broker", "Entry", "Partition", "Transaction"]

OPEN, COMMITTED, ABORTED, MARKER = "open", "committed", "aborted", "marker"
NO_HEADERS: tuple[tuple[str, bytes], ...] = ()


class Entry:
    """A record in a partition; of the shape in which lanes read records."""

    __slots__ = ("headers", "key", "offset", "state", "timestamp", "value")

    def __init__(self, offset: int, timestamp: int, key: bytes | None, value: bytes | None, headers: Any, state: str) -> None:
        self.offset = offset
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self.headers = headers
        self.state = state


class Partition:
    """One partition of a topic."""

    def __init__(self, tp: TopicPartition) -> None:
        self.tp = tp
        self.entries: list[Entry] = []  # in order of their offsets; compaction leaves gaps
        self.end = 0  # next offset: the high watermark
        self.open: dict[int, list[Entry]] = {}  # producer id -> its undecided records, in the order in which the transactions began
        self.last_data = -1  # offset of the last record that readers of committed records see
        self.sequences: dict[tuple[int, int], tuple[int, dict[int, int]]] = {}  # (pid, epoch) -> next sequence; sequence -> base offset
        self.epochs: dict[int, int] = {}  # the newest epoch of a producer that was seen here, on a batch or a marker
        self.waiting: list[Callable[[], None]] = []  # fetches that wait for more

    @property
    def stable(self) -> int:
        """The last stable offset."""
        for entries in self.open.values():
            return entries[0].offset
        return self.end

    def append(self, timestamp: int, key: bytes | None, value: bytes | None, headers: Any, state: str) -> Entry:
        entry = Entry(self.end, timestamp, key, value, headers, state)
        self.entries.append(entry)
        self.end += 1
        return entry

    def fetch(self, position: int, committed: bool, limit: int) -> tuple[list[Entry], int]:
        """Records from a position on, and the position behind what was looked at."""
        end = self.stable if committed else self.end
        found: list[Entry] = []
        entries = self.entries
        for at in range(bisect_left(entries, position, key=_offset_of), len(entries)):
            entry = entries[at]
            if entry.offset >= end:
                break
            if entry.state is COMMITTED or (not committed and entry.state is not MARKER):
                if len(found) >= limit:
                    return found, entry.offset
                found.append(entry)
        return found, max(position, end)

    def wake(self) -> None:
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()

    def committed(self) -> Iterable[Entry]:
        return [entry for entry in self.entries if entry.state is COMMITTED]

    def compact(self, draw: Callable[[], float]) -> None:
        """Forget some of what a newer committed record of the same key supersedes."""
        stable, newest = self.stable, {}
        for entry in self.entries:
            if entry.state is COMMITTED and entry.offset < stable:
                newest[entry.key] = entry.offset
        self.entries = [
            entry
            for entry in self.entries
            if entry.offset >= stable
            or not ((entry.state is COMMITTED and newest[entry.key] > entry.offset) or entry.state is ABORTED)
            or draw() < 0.3
        ]


def _offset_of(entry: Entry) -> int:
    return entry.offset


class Transaction:
    """What the coordinator knows of a transactional id."""

    __slots__ = ("began", "epoch", "number", "offsets", "partitions", "pid", "state", "timeout_s", "unmarked")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.epoch = -1
        self.state = "empty"  # ongoing, committing, aborting, committed, aborted
        self.partitions: dict[TopicPartition, None] = {}
        self.offsets: dict[TopicPartition, int] | None = None  # None: no group was added
        self.timeout_s = 0.0
        self.began = 0.0
        self.number = 0  # of its transactions, for the timer of the timeout
        self.unmarked = 0


class Broker:
    """Topics, transactions and group offsets."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._draw = scheduler.draw
        self.partitions: dict[TopicPartition, Partition] = {}
        self.transactions: dict[str, Transaction] = {}
        self.group_offsets: dict[TopicPartition, int] = {}
        self.on_commit: Callable[[Partition, list[Entry]], None] = lambda partition, entries: None
        self.counts: dict[str, int] = {}
        self.slow_markers = False

    def partition(self, tp: TopicPartition) -> Partition:
        found = self.partitions.get(tp)
        if found is None:
            found = self.partitions[tp] = Partition(tp)
        return found

    def now_ms(self) -> int:
        return START_NS // 1_000_000 + int(self._scheduler.now * 1_000)

    def publish(self, tp: TopicPartition, key: bytes | None, value: bytes | None, headers: Any = NO_HEADERS) -> int:
        """Append a record without a transaction, as a collector or an operator does; returns its offset."""
        partition = self.partition(tp)
        entry = partition.append(self.now_ms(), key, value, headers, COMMITTED)
        partition.last_data = entry.offset
        partition.wake()
        return entry.offset

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    # -- the coordinator ---------------------------------------------------------------------------------------------

    def init_producer(self, name: str, timeout_s: float) -> tuple[int, int]:
        """(producer id, epoch). Raises ConcurrentTransactions while an older transaction is being settled."""
        transaction = self.transactions.get(name)
        if transaction is None:
            transaction = self.transactions[name] = Transaction(1_000 + len(self.transactions))
        if transaction.state in ("committing", "aborting"):
            raise ConcurrentTransactions()
        if transaction.state == "ongoing":
            self.count("transactions aborted by the next holder")
            transaction.epoch += 1
            self._end(transaction, False)
            raise ConcurrentTransactions()
        transaction.epoch += 1
        transaction.timeout_s = timeout_s
        transaction.state = "empty"
        return transaction.pid, transaction.epoch

    def _current(self, name: str, pid: int, epoch: int) -> Transaction:
        transaction = self.transactions[name]
        if (transaction.pid, transaction.epoch) != (pid, epoch):
            self.count("requests of a fenced producer")
            raise InvalidProducerEpoch()
        return transaction

    def _ongoing(self, name: str, pid: int, epoch: int) -> Transaction:
        transaction = self._current(name, pid, epoch)
        if transaction.state in ("committing", "aborting"):
            raise ConcurrentTransactions()
        if transaction.state != "ongoing":
            transaction.state = "ongoing"
            transaction.partitions, transaction.offsets = {}, None
            transaction.began = self._scheduler.now
            transaction.number += 1
            number = transaction.number
            # The coordinator looks for old transactions only now and then.
            self._scheduler.after(transaction.timeout_s * (1 + self._draw() / 6), lambda: self._expire(transaction, number))
        return transaction

    def _expire(self, transaction: Transaction, number: int) -> None:
        if transaction.number == number and transaction.state == "ongoing":
            self.count("transactions timed out")
            transaction.epoch += 1
            self._end(transaction, False)

    def add_partitions(self, name: str, pid: int, epoch: int, tps: Iterable[TopicPartition]) -> None:
        self._ongoing(name, pid, epoch).partitions.update(dict.fromkeys(tps))

    def add_offsets(self, name: str, pid: int, epoch: int) -> None:
        transaction = self._ongoing(name, pid, epoch)
        if transaction.offsets is None:
            transaction.offsets = {}

    def commit_offsets(self, name: str, pid: int, epoch: int, offsets: Mapping[TopicPartition, int]) -> None:
        transaction = self._current(name, pid, epoch)
        if transaction.state != "ongoing" or transaction.offsets is None:
            raise InvalidTxnState()
        transaction.offsets.update(offsets)

    def end(self, name: str, pid: int, epoch: int, commit: bool) -> None:
        """EndTxn. What it decides holds from now on, whether the answer arrives or not."""
        transaction = self._current(name, pid, epoch)
        if transaction.state in ("committing", "aborting"):
            if (transaction.state == "committing") == commit:
                raise ConcurrentTransactions()
            raise InvalidTxnState()
        if transaction.state == ("committed" if commit else "aborted"):
            return  # asked before
        if transaction.state != "ongoing":
            raise InvalidTxnState()
        self._end(transaction, commit)

    def _end(self, transaction: Transaction, commit: bool) -> None:
        transaction.state = "committing" if commit else "aborting"
        self.count("committed" if commit else "aborted")
        marks: list[TopicPartition | None] = [*transaction.partitions]
        if transaction.offsets is not None:
            marks.append(None)
        transaction.unmarked = len(marks)
        if not marks:
            transaction.state = "committed" if commit else "aborted"
            return
        draw, epoch = self._draw, transaction.epoch
        if not self.slow_markers and draw() < 0.7:
            # Mostly the markers are written at about the same time; the order is the coordinator's.
            self._scheduler.after(0.001, lambda: [self._mark(transaction, tp, commit, epoch) for tp in marks])  # type: ignore[func-returns-value]
        else:
            self.count("markers written apart")
            for tp in marks:
                self._scheduler.after(draw() * draw(), lambda tp=tp: self._mark(transaction, tp, commit, epoch))  # type: ignore[misc]

    def _mark(self, transaction: Transaction, tp: TopicPartition | None, commit: bool, epoch: int) -> None:
        if tp is None:
            if commit and transaction.offsets:
                self.group_offsets.update(transaction.offsets)
        else:
            partition = self.partition(tp)
            entries = partition.open.pop(transaction.pid, [])
            for entry in entries:
                entry.state = COMMITTED if commit else ABORTED
            partition.append(self.now_ms(), None, None, NO_HEADERS, MARKER)
            partition.epochs[transaction.pid] = max(epoch, partition.epochs.get(transaction.pid, -1))
            if commit and entries:
                partition.last_data = max(partition.last_data, entries[-1].offset)
                self.on_commit(partition, entries)
            partition.wake()
        transaction.unmarked -= 1
        if not transaction.unmarked:
            transaction.state = "committed" if commit else "aborted"

    # -- the leader of a partition -----------------------------------------------------------------------------------

    def produce(self, name: str, pid: int, epoch: int, tp: TopicPartition, sequence: int, records: list[Any]) -> int:
        """Append a batch of (timestamp, key, value, headers); returns its base offset."""
        partition = self.partition(tp)
        if epoch < partition.epochs.get(pid, -1):
            self.count("requests of a fenced producer")
            raise InvalidProducerEpoch()
        following, known = partition.sequences.get((pid, epoch), (0, {}))
        if sequence in known:
            self.count("batches produced twice")
            return known[sequence]
        transaction = self.transactions[name]
        if (transaction.pid, transaction.epoch) != (pid, epoch):
            self.count("requests of a fenced producer")
            raise InvalidProducerEpoch()
        if transaction.state != "ongoing" or tp not in transaction.partitions:
            raise InvalidTxnState()
        if sequence != following:
            raise OutOfOrderSequenceNumber()
        base = partition.end
        undecided = partition.open.setdefault(pid, [])
        for timestamp, key, value, headers in records:
            undecided.append(partition.append(timestamp, key, value, headers, OPEN))
        known = {**dict(list(known.items())[-4:]), sequence: base}  # it remembers the last five
        partition.sequences[pid, epoch] = sequence + len(records), known
        partition.epochs[pid] = epoch
        return base

    def open_transactions(self) -> list[str]:
        """Transactional ids with a transaction that is neither committed nor aborted."""
        return [name for name, transaction in self.transactions.items() if transaction.state in ("ongoing", "committing", "aborting")]
