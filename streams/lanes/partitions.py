"""Which partition an account belongs to, remembered: the hash is written in Python and costs more than pricing an event."""

from __future__ import annotations

from ..topics import partition_of

__all__ = ["account_partition", "known_partitions"]

KNOWN_ACCOUNTS = 1_000_000
# account -> its hash as Kafka's default partitioner has it, before the modulo. Bounded: cleared when full.
known_partitions: dict[str, int] = {}


def account_partition(account: str, partitions: int) -> int:
    """Partition of an account, as any Kafka producer that keys by account would choose it."""
    known = known_partitions.get(account)
    if known is None:
        if len(known_partitions) >= KNOWN_ACCOUNTS:
            known_partitions.clear()
        known = known_partitions[account] = partition_of(account, 1 << 31)
    return known % partitions
