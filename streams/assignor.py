"""Which worker gets which partition: partition p of all co-partitioned topics goes to one worker, together.

The state of partition p is fed by partition p of `usage.events` and of every raw topic keyed by account, and one transaction
carries the offsets of all, so they must not be apart. Where it goes follows from the names of the workers alone, not from
member ids, which change with every start: a worker that restarts under its name finds its partitions, and its local state, again.
When a worker comes or goes most of the others' partitions stay where they are (`homes`). Topics without state are dealt out in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

__all__ = ["assignor_for", "homes", "spread"]


def spread(
    partitions: Mapping[str, Iterable[int]], subscriptions: Mapping[str, Iterable[str]], names: Mapping[str, bytes], together: frozenset[str]
) -> dict[str, dict[str, list[int]]]:
    """{member: {topic: partitions}}. Every partition of every subscribed topic goes to exactly one subscribed member.

    partitions: topic -> its partition numbers; subscriptions: member -> topics; names: member -> name of its worker;
    together: the topics whose equal partition numbers must share a member (they must have equal counts).
    """
    order = sorted(subscriptions, key=lambda member: (names.get(member, b""), member))
    result: dict[str, dict[str, list[int]]] = {member: {} for member in order}
    topics = sorted({topic for read in subscriptions.values() for topic in read})
    # Only members that read all of the topics that anyone reads together may hold a share of them.
    wanted = together.intersection(topics)
    members = [member for member in order if wanted <= set(subscriptions[member])]
    if members:
        numbers = sorted({number for topic in wanted for number in partitions.get(topic, ())})
        home = dict(zip(numbers, homes([names.get(member, b"") for member in members], numbers), strict=True))
        for topic in sorted(wanted):
            for number in sorted(partitions.get(topic, ())):
                result[members[home[number]]].setdefault(topic, []).append(number)
    for turn, topic in enumerate(topic for topic in topics if topic not in together):
        members = [member for member in order if topic in subscriptions[member]]
        for number in sorted(partitions.get(topic, ())):
            result[members[(number + turn) % len(members)]].setdefault(topic, []).append(number)
    return result


def homes(workers: Sequence[bytes], numbers: Sequence[int]) -> list[int]:
    """The position in `workers` (their names, in order) of the one that each partition lives with. Their shares differ by one at most.

    Rendezvous hashing with bounded load: a partition prefers workers in an order of its own, drawn from their names, and takes the first that
    has room. A worker that comes takes its share from all others, and one that goes leaves its share to all; few others move (test_assignor.py).
    """
    share, over = divmod(len(numbers), len(workers))
    held = [0] * len(workers)
    found: list[int] = []
    for number in numbers:
        said = b"\0%d" % number
        for at in sorted(range(len(workers)), key=lambda at: blake2b(workers[at] + said, digest_size=8).digest()):
            if held[at] < share or (held[at] == share and over):
                over -= held[at] == share
                held[at] += 1
                found.append(at)
                break
    return found


def assignor_for(worker: str, together: frozenset[str]) -> type[AbstractPartitionAssignor]:
    """An assignor class for one worker: aiokafka calls it by class, so the worker's name is bound into it."""

    class Assignor(AbstractPartitionAssignor):  # type: ignore[misc]
        name = "ratemill"
        version = 0

        @classmethod
        def assign(cls, cluster: ClusterMetadata, members: Mapping[str, Any]) -> dict[str, Any]:
            topics = {t for metadata in members.values() for t in metadata.subscription}
            result = spread(
                {t: cluster.partitions_for_topic(t) or () for t in topics},
                {member: metadata.subscription for member, metadata in members.items()},
                {member: bytes(metadata.user_data or b"") for member, metadata in members.items()},
                together,
            )
            return {m: ConsumerProtocolMemberAssignment(cls.version, sorted(result[m].items()), b"") for m in members}

        @classmethod
        def metadata(cls, topics: Iterable[str]) -> Any:
            return ConsumerProtocolMemberMetadata(cls.version, list(topics), worker.encode())

        @classmethod
        def on_assignment(cls, assignment: Any) -> None:
            pass

    return Assignor
