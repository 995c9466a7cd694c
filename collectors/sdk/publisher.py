"""What a collector uses: `put` returns once an event is on the local disk; a thread brings it to Ratemill, however long that takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypedDict, Unpack

from ...schemas.errors import BadInput, RatemillError
from ...schemas.limits import DEFAULT_LIMITS
from .delivery import Delivery
from .events import Event
from .spool import Refused, Spool, SpoolFailed
from .targets import Target, target_of

__all__ = ["AsyncPublisher", "Metrics", "Publisher"]


class Metrics(NamedTuple):
    """Counters are since the publisher was opened, the others as of now. failure: why nothing leaves, "" while all is well."""

    accepted_events: int
    delivered_events: int
    retries: int
    waiting_events: int
    waiting_bytes: int
    oldest_waiting_s: int
    refused_events: int
    refused_bytes: int
    failure: str


class Options(TypedDict, total=False):
    """Options of a publisher.

    spool_bytes (1 GiB): beyond so many bytes of events, `put` refuses. linger_s (0.1): how long a few events wait to leave together. round_bytes
    (4 MiB): so many are under way before their acknowledgement is waited for. fsync=False: `put` is quicker, and a power cut (not the end of the
    process) may take what it accepted last.
    """

    spool_bytes: int
    linger_s: float
    round_bytes: int
    fsync: bool


class Publisher:
    """Publishes usage; for any number of threads of one process.

    target: `kafka://host:port/topic`, a KafkaTarget or an HttpTarget. spool: path of a file on a local disk, for this
    publisher alone; what is in it from before is delivered too. Raises BadInput, SpoolInUse, and what else `Spool` raises.
    """

    def __init__(self, target: str | Target, spool: str | Path, **options: Unpack[Options]) -> None:
        chosen = target_of(target) if isinstance(target, str) else target
        self._spool = Spool(spool, max_bytes=options.get("spool_bytes", 1 << 30), fsync=options.get("fsync", True))
        self._accepted = 0
        try:
            self._delivery = Delivery(
                self._spool, chosen, linger_s=options.get("linger_s", 0.1), round_bytes=options.get("round_bytes", 4 << 20)
            )  # fmt: skip
        except BaseException:
            self._spool.close()
            raise

    def put(self, event: Event) -> None:
        """Accept one event. Once this returns it is on the disk, and will be counted once. Raises as `put_many`."""
        self.put_many((event,))

    def put_many(self, events: Iterable[Event]) -> None:
        """Accept events, all or none, with one fsync. Raises SpoolFull, SpoolFailed, and BadInput for one that no record can hold."""
        events = list(events)
        for event in events:
            body = event.body
            if len(body) > DEFAULT_LIMITS.max_record_bytes:
                raise BadInput(f"an event of {event.account} has {len(body):,} bytes; at most {DEFAULT_LIMITS.max_record_bytes:,} are read")
            if body[:1] != b"{" or body[-1:] != b"}" or b"\n" in body or b"\r" in body:
                raise BadInput(f"an event of {event.account} is not one JSON object on one line: {body[:40]!r}; make it by usage()")
        if not events:
            return
        self._spool.append(events)
        self._accepted += len(events)
        self._delivery.wake()

    def flush(self, timeout: float = 60.0) -> bool:
        """Wait until what was accepted before is acknowledged, at most `timeout` seconds; False when some of it still waits (it is not lost)."""
        return self._delivery.flush(self._spool.last, timeout)

    def metrics(self) -> Metrics:
        """How it goes; also once the publisher is closed."""
        spool, delivery = self._spool, self._delivery
        try:
            first = spool.first()
        except RatemillError:
            first = None
        oldest = max(0, int(time.time()) - first[1]) if first else 0
        return Metrics(
            self._accepted, delivery.delivered_events, delivery.retries, spool.waiting_events, spool.waiting_bytes, oldest, spool.refused_events,
            spool.refused_bytes, delivery.failure,
        )  # fmt: skip

    def refused(self, most: int = 100) -> list[Refused]:
        """Events that Ratemill will never take as they are, with the reasons; they stay in the spool until they are cleared."""
        return self._spool.refused(most)

    def clear_refused(self, *, again: bool) -> int:
        """Send the refused events again, or forget them; how many there were."""
        cleared = self._spool.clear_refused(again=again)
        self._delivery.wake()
        return cleared

    def close(self, timeout: float = 10.0) -> bool:
        """Flush, and let go of the spool. False when events still wait: the next publisher with this spool delivers them."""
        deadline = time.monotonic() + timeout
        if not self._delivery.stopped:
            try:
                self.flush(timeout)
            except SpoolFailed:
                pass  # whoever put events was told; what the disk kept is for the next publisher
        return self._delivery.stop(max(1.0, deadline - time.monotonic())) and not self._spool.waiting_events

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class AsyncPublisher:
    """The same for asyncio. What is put while a group is being written to the disk is written as the next group, with one fsync."""

    def __init__(self, target: str | Target, spool: str | Path, **options: Unpack[Options]) -> None:
        self._publisher = Publisher(target, spool, **options)
        self._open: list[tuple[list[Event], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def put(self, event: Event) -> None:
        """Accept one event. Once this returns it is on the disk, and will be counted once. Raises as `Publisher.put_many`."""
        await self.put_many((event,))

    async def put_many(self, events: Iterable[Event]) -> None:
        """Accept events, all or none. Raises as `Publisher.put_many`."""
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.append((list(events), accepted))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await accepted

    async def _write(self) -> None:
        while self._open:
            group, self._open = self._open, []
            try:
                await asyncio.to_thread(self._publisher.put_many, [event for events, _ in group for event in events])
            except Exception:
                # One of them may be at fault: each is told of its own.
                for events, accepted in group:
                    await self._alone(events, accepted)
                continue
            for _, accepted in group:
                if not accepted.done():
                    accepted.set_result(None)

    async def _alone(self, events: list[Event], accepted: asyncio.Future[None]) -> None:
        try:
            await asyncio.to_thread(self._publisher.put_many, events)
        except Exception as error:
            if not accepted.done():
                accepted.set_exception(error)
        else:
            if not accepted.done():
                accepted.set_result(None)

    async def flush(self, timeout: float = 60.0) -> bool:
        """As `Publisher.flush`."""
        return await asyncio.to_thread(self._publisher.flush, timeout)

    def metrics(self) -> Metrics:
        """As `Publisher.metrics`."""
        return self._publisher.metrics()

    async def refused(self, most: int = 100) -> list[Refused]:
        """As `Publisher.refused`."""
        return await asyncio.to_thread(self._publisher.refused, most)

    async def clear_refused(self, *, again: bool) -> int:
        """As `Publisher.clear_refused`."""
        return await asyncio.to_thread(self._publisher.clear_refused, again=again)

    async def close(self, timeout: float = 10.0) -> bool:
        """As `Publisher.close`, once what is being put is accepted."""
        if self._writing is not None:
            await self._writing
        return await asyncio.to_thread(self._publisher.close, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()
