"""What providers push, on its way to Kafka: events that can be counted in the plain form, everything else as it came, for the dead letters.

A service that pushes sends again what is not acknowledged, until it gives up. So a message is acknowledged once all of it is in Kafka, whatever it
holds: what cannot be counted is nothing that sending again would mend.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool

from .intake import FORBIDDEN, Record, take
from .parts import Parts
from .problems import Problem
from .tokens import Principal

__all__ = ["store"]


async def store(parts: Parts, documents: Sequence[bytes], format: str, principal: Principal) -> None:
    """Put everything that these documents hold into Kafka, acknowledged by all replicas. format: a name of schemas.decoders.registry.

    Raises Problem: 403 where a document names another account than the key's own; 413, 503.
    """
    arguments = (b"\n".join(documents), "lines", format, principal.account, "", parts.limits, parts.max_events, parts.now_ns())
    found = await run_in_threadpool(take, *arguments)  # type: ignore[arg-type]
    if any(result.reason == FORBIDDEN for result in found.results):
        raise Problem(403, "not-allowed", "the key is for another account than usage of this message; nothing of it was stored")
    refused = sorted({int(result.pointer[1:]) for result in found.results if result.status == "rejected"})
    if found.records:
        await parts.outbox.send(found.records, [])
    if refused:
        await parts.outbox.send([Record(None, documents[at]) for at in refused], [("ratemill-format", format.encode())])
    for status in ("accepted", "duplicate", "rejected"):
        parts.metrics.events.labels(status).inc(found.count(status))
