"""How much memory a worker may take, derived from its limits: what the programs that try limits hold it to (docs/limits.md has the sum).

Figures per event were measured: bytes of resident memory for each of 300,000.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..streams.config import Config
from ..streams.identities.recent import BYTES as RECENT_BYTES
from ..streams.lanes.base import QUEUED_BYTES
from ..streams.lean_records import BYTES_AT_ONCE
from ..streams.rocks import CACHE_BYTES, MEMTABLE_BYTES

__all__ = ["overloaded", "without_elasticsearch"]

MB = 1e6
IDENTITY_BYTES = 200  # of an event that waits for a commit of `rate`; 162 measured
PACKED_BYTES = 110  # of one that waits for a commit of `normalize`; 99 measured
FAUST_BATCHES = 5  # of each agent: four in its stream (streams/app.py), and the one at work
BULK_BYTES = 2 * (4 << 20)  # of a lane that indexes: two requests of 4 MiB (sinks/elasticsearch.py)
REMEMBERED_BYTES = 65  # of an event's identity in memory, and of its window in a memtable of RocksDB


def overloaded(config: Config, agents: int) -> Mapping[str, float]:
    """What may come on top when every queue is full and every commit is due, in MB by place. All agents, one raw topic, few windows."""
    partitions = config.kafka.partitions
    return {
        "queues": QUEUED_BYTES / MB,
        "fetched, not queued": _fetched(agents * partitions, agents),
        "identities not committed": partitions * config.rating.commit_events * IDENTITY_BYTES / MB,
        "packed events not committed": partitions * config.rating.commit_events * PACKED_BYTES / MB,
        "bulk requests": partitions * BULK_BYTES / MB,
        "identities not on the disk": partitions * 2 * RECENT_BYTES / MB,
        "RocksDB": partitions * (2 * MEMTABLE_BYTES + CACHE_BYTES) / MB,
    }


def without_elasticsearch(config: Config, agents: int, events: int) -> Mapping[str, float]:
    """What may come on top while Elasticsearch is away and so many events come, in MB by place: the lanes that index hold what they may."""
    partitions = config.kafka.partitions
    memtables = min(2 * (MEMTABLE_BYTES + RECENT_BYTES) * partitions, events * REMEMBERED_BYTES)
    return {
        "queues of the lanes that index": QUEUED_BYTES / agents / MB,
        "fetched, not queued": _fetched(partitions, 1),
        "bulk requests": partitions * BULK_BYTES / MB,
        "RocksDB, as without an outage": (memtables + partitions * CACHE_BYTES) / MB,
    }


def _fetched(sources: int, agents: int) -> float:
    """In MB: of each source a fetch that nobody asked for yet and one batch unpacked; of each agent what is on its way to the lanes."""
    return (sources * 2 + agents * FAUST_BATCHES) * BYTES_AT_ONCE / MB
