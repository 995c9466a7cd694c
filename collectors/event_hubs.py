"""An Azure event hub, by its Kafka endpoint, to a raw topic: records as they are, from where the group committed.

A record is in the raw topic, on all replicas, before its offset is committed; so one that is there twice after a crash is there as it was, with the
identity that its decoder makes of it, and counts once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.conn import create_conn
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, SaslAuthenticationFailed

from ..schemas.errors import AccessDenied, BadInput, RatemillError, Unavailable
from ..sinks.access import servers, tls_context, tls_trouble

__all__ = ["EventHub", "relay"]

_PORT = 9_093
_BATCH = 500  # records
_MOST_BYTES = 17 << 20


@dataclass(frozen=True)
class EventHub:
    """A hub as its connection string names it. Raises BadInput for one that is none.

    hub: its name, "" for the EntityPath of the connection string. bootstrap: where the Kafka endpoint is, "" for port 9093 of the namespace.
    """

    connection: str = field(repr=False)
    hub: str = ""
    group: str = "$Default"
    bootstrap: str = ""
    ca_file: str = ""

    def __post_init__(self) -> None:
        parts = {name.lower(): value for name, _, value in (part.partition("=") for part in self.connection.strip().split(";"))}
        host = urlsplit(parts.get("endpoint", "")).hostname
        if not host or not parts.get("sharedaccesskeyname") or not parts.get("sharedaccesskey"):
            raise BadInput("the connection string is none of Event Hubs: Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…[;EntityPath=…]")
        if not (self.hub or parts.get("entitypath")):
            raise BadInput("the connection string names no hub (EntityPath); give one by --hub")
        object.__setattr__(self, "connection", self.connection.strip())
        object.__setattr__(self, "hub", self.hub or parts["entitypath"])
        object.__setattr__(self, "bootstrap", self.bootstrap or f"{host}:{_PORT}")

    def settings(self) -> dict[str, Any]:
        """Of an aiokafka client."""
        return {
            "bootstrap_servers": self.bootstrap, "security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN",
            "sasl_plain_username": "$ConnectionString", "sasl_plain_password": self.connection,
            "ssl_context": tls_context("event hub", ca_file=self.ca_file),
        }  # fmt: skip


async def relay(
    hub: EventHub, kafka: Mapping[str, Any], topic: str, headers: list[tuple[str, bytes]], *, to_end: bool,
    tell: Callable[[int, int], None] = lambda count, behind: None, lost: Callable[[int, int], None] = lambda partition, count: None,
    step: Callable[[str], None] = lambda _: None,
) -> int:  # fmt: skip
    """Carry records over, and return how many. kafka: settings of an aiokafka client. to_end: end where the hub ends now; else go on for good.

    tell: called with (records carried over, records that wait in the hub). lost: called with (partition, how many of its records the hub
    removed before they were read). Raises Unavailable, AccessDenied: it goes on where it was when run again.
    """
    consumer = AIOKafkaConsumer(
        hub.hub, **hub.settings(), group_id=hub.group, enable_auto_commit=False, auto_offset_reset="earliest", max_partition_fetch_bytes=_MOST_BYTES,
        request_timeout_ms=60_000, session_timeout_ms=30_000, metadata_max_age_ms=180_000, connections_max_idle_ms=180_000,
    )  # fmt: skip
    producer = AIOKafkaProducer(**kafka, acks="all", enable_idempotence=True, max_request_size=_MOST_BYTES)
    try:
        await _let_in(hub)
        await consumer.start()
        await producer.start()
        return await _Relay(consumer, producer, hub.hub, topic, headers, tell, lost, step).run(to_end)
    except (KafkaError, OSError) as error:
        raise Unavailable(f"between {hub.hub} and {topic}: {error!r}; run it again: it goes on where it was") from error
    finally:
        await consumer.stop()
        await producer.stop()


async def _let_in(hub: EventHub) -> None:
    """Log in once by itself: a consumer that is not let in says only that nobody answers. Raises AccessDenied, Unavailable."""
    what = f"the event hub {hub.hub} at {hub.bootstrap}"
    settings = {name: value for name, value in hub.settings().items() if name != "bootstrap_servers"}
    (host, port), *_ = servers(hub.bootstrap)
    try:
        (await create_conn(host, port, **settings)).close()
    except (KafkaError, OSError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, SaslAuthenticationFailed):
            raise AccessDenied(f"{what} does not take the connection string; it needs a key that is valid, with the claim Listen") from error
        if isinstance(cause, ssl.SSLError) and (found := tls_trouble(cause, "")):
            raise AccessDenied(f"{what}: {found[0]}; give the certificates to trust by --ca-file") from error
        raise Unavailable(f"{what} does not answer ({cause!r}); namespaces have a Kafka endpoint from the Standard tier on") from error


class _Relay:
    def __init__(
        self, consumer: Any, producer: Any, hub: str, topic: str, headers: list[tuple[str, bytes]], tell: Callable[[int, int], None],
        lost: Callable[[int, int], None], step: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._consumer, self._producer, self._hub, self._topic, self._headers = consumer, producer, hub, topic, headers
        self._tell, self._lost, self._step, self._count = tell, lost, step, 0
        self._looked_at: set[TopicPartition] = set()

    async def run(self, to_end: bool) -> int:
        ends: dict[TopicPartition, int] = {}
        while True:
            batch = await self._consumer.getmany(timeout_ms=1_000, max_records=_BATCH)
            await self._look_for_gaps()
            if batch:
                await self._carry(batch)
            if to_end:
                ends = ends or await self._ends()
                ours = self._consumer.assignment()  # the others are somebody else's now
                if ends and ours and all([await self._consumer.position(tp) >= end for tp, end in ends.items() if tp in ours]):
                    return self._count

    async def _look_for_gaps(self) -> None:
        """What the hub removed since the group committed is usage that nobody will ever see: the consumer itself goes on behind it without a word."""
        if new := self._consumer.assignment() - self._looked_at:
            begins = await self._consumer.beginning_offsets(list(new))
            for tp in sorted(new):
                committed = await self._consumer.committed(tp)
                if committed is not None and committed < begins[tp]:
                    self._lost(tp.partition, begins[tp] - committed)
            self._looked_at |= new

    async def _carry(self, batch: Mapping[TopicPartition, Any]) -> None:
        records = [record for of_partition in batch.values() for record in of_partition]
        if too_large := next((r for r in records if len(r.value or b"") > _MOST_BYTES - 4_096), None):
            where = f"record {too_large.partition}/{too_large.offset} of {self._hub}"
            raise RatemillError(f"{where} has {len(too_large.value)} bytes, and no raw topic takes so many")
        # A record without a value says nothing, and in Kafka it would say that something is deleted.
        sent = [await self._producer.send(self._topic, r.value or b"", headers=self._headers) for r in records]
        await asyncio.gather(*sent)
        self._step("sent")
        try:
            await self._consumer.commit({tp: of_partition[-1].offset + 1 for tp, of_partition in batch.items()})
        except (CommitFailedError, IllegalStateError):
            pass  # the group shares its partitions out anew: whoever has them carries these records over once more, and they count once
        self._step("committed")
        self._count += len(records)
        ours = self._consumer.assignment()
        waiting = sum((self._consumer.highwater(tp) or 0) - of_partition[-1].offset - 1 for tp, of_partition in batch.items() if tp in ours)
        self._tell(self._count, max(0, waiting))

    async def _ends(self) -> dict[TopicPartition, int]:
        """Of the partitions that were given to us; {} while none were."""
        assigned = self._consumer.assignment()
        return dict(await self._consumer.end_offsets(list(assigned))) if assigned else {}
