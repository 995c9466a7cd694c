"""Which worker gets which partition: partition p of all co-partitioned topics goes to one worker, together.

The state of partition p is fed by partition p of `usage.events` and of every raw topic keyed by account, and one transaction
carries the offsets of all, so they must not be apart. Other topics are spread evenly. Workers are ordered by their names, not by
member ids, which change with every start: a worker that restarts under its name finds its partitions, and its local state, again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

__all__ = ["assignor_for", "spread"]


def spread(
    partitions: Mapping[str, Iterable[int]], subscriptions: Mapping[str, Iterable[str]], names: Mapping[str, bytes], together: frozenset[str]
) -> dict[str, dict[str, list[int]]]:
    """{member: {topic: partitions}}. Every partition of every subscribed topic goes to exactly one subscribed member.

    partitions: topic -> its partition numbers; subscriptions: member -> topics; names: member -> name of its worker;
    together: the topics whose equal partition numbers must share a member (they must have equal counts).
    """
    order = sorted(subscriptions, key=lambda member: (names.get(member, b""), member))
    result: dict[str, dict[str, list[int]]] = {member: {} for member in order}
    offset = 0
    for topic in sorted({t for topics in subscriptions.values() for t in topics}):
        if topic in together:
            # Only members that read all of the topics that anyone reads together may hold a share of them.
            wanted = {t for topics in subscriptions.values() for t in topics if t in together}
            members = [m for m in order if wanted <= set(subscriptions[m])]
            turn = 0
        else:
            members = [m for m in order if topic in set(subscriptions[m])]
            turn = offset
            offset += 1
        for number in sorted(partitions.get(topic, ())):
            if members:
                result[members[(number + turn) % len(members)]].setdefault(topic, []).append(number)
    return result


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
