"""Events of collectors that have a durable list of their own, handed to a target of the SDK: Kafka or the HTTP API. No spool beside that list."""

from __future__ import annotations

from collections.abc import Sequence

from ..schemas.errors import RatemillError, Unavailable
from ..schemas.packed import as_cloudevent
from ..schemas.usage_event import UsageEvent
from .sdk.spool import Row
from .sdk.targets import Sender, Target

__all__ = ["Delivering"]


class Delivering:
    """A connection to a target; made when it is first needed."""

    def __init__(self, target: Target) -> None:
        self._sender: Sender = target.connect()

    def __call__(self, events: Sequence[UsageEvent], backfill: str) -> None:
        """Deliver events, several of an account in one record, and return when all are acknowledged. backfill: name of a declared one, or "".

        Raises Unavailable: some of them may be there, and sending them again is safe. Raises RatemillError for what the other side will never take.
        """
        rows = [Row(number, event.account, backfill, 1, as_cloudevent(event)) for number, event in enumerate(events)]
        outcome = self._sender.deliver(rows)
        if outcome.failure:
            raise Unavailable(outcome.failure)
        if outcome.refused:
            first = outcome.refused[0]
            said = f"{first.reason}: {first.detail}; {first.body[:300].decode('utf-8', 'replace')}"
            raise RatemillError(f"{len(outcome.refused):,} events are refused for good, and stay where they are; the first: {said}")

    def close(self) -> None:
        """End the connection."""
        self._sender.close()
