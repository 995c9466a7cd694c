"""The Elasticsearch sink: at-least-once in, exactly once in the index.

`_id` is the line item's id and the external version its revision, so a replay, a reordered batch or a request whose answer
was lost cannot change or double anything: Elasticsearch keeps the highest revision (409 for the others, which is success).

    1. newest revision of each id in the write            3. classify the answer, item by item (bulk.py)
    2. make sure the index of its month exists            4. retry what can pass, refuse what never will
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch, OrjsonSerializer, TransportError

from ..schemas.errors import AccessDenied, RatemillError, Unavailable
from .access import address, tls_context
from .bulk import Outcome, describe, error_type, judge, splits
from .documents import Entry, Item, Refused, chunks, encode, read_items
from .metrics import CountingMetrics, SinkMetrics
from .templates import TEMPLATE_VERSION, IndexConflict, Names, index_body, template_body

__all__ = ["ElasticsearchSink", "check", "connect", "equal_jitter"]

_BACKOFF_FIRST_SECONDS = 0.1
_BACKOFF_MAX_SECONDS = 10.0


def equal_jitter(delay_seconds: float) -> float:
    """Between half the delay and all of it: spread out, and never a busy loop."""
    return random.uniform(delay_seconds / 2, delay_seconds)


def connect(
    urls: str | Sequence[str],
    *,
    api_key: str | None = None,
    basic_auth: tuple[str, str] | None = None,
    ca_file: str = "",
    request_timeout_seconds: float = 30.0,
) -> AsyncElasticsearch:
    """A client as Ratemill uses it: own retries only (the library's resend whole requests), fast JSON, one timeout.

    ca_file: certificates to trust (PEM), "" for those of the system. Raises ValueError for a wrong address, BadConfig for a wrong file.
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    tls = "https" in {address(url).scheme for url in urls}
    options: dict[str, Any] = {"ssl_context": tls_context("elasticsearch", ca_file=ca_file)} if tls else {}
    return AsyncElasticsearch(
        urls,
        api_key=api_key,
        basic_auth=basic_auth,
        request_timeout=request_timeout_seconds,
        max_retries=0,
        retry_on_timeout=False,
        serializers={"application/json": OrjsonSerializer(), "application/vnd.elasticsearch+json": OrjsonSerializer()},
        **options,
    )


class ElasticsearchSink:
    """Writes line items; one instance per worker, `write` may run several times at once.

    `max_in_flight` bulk requests of one write travel together. Memory: the items handed in, plus `max_in_flight` bodies.
    `clock`, `sleep` and `jitter` are there for tests.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        api_key: str | None = None,
        basic_auth: tuple[str, str] | None = None,
        ca_file: str = "",
        prefix: str = "ratemill",
        refresh_interval: str = "1s",
        auto_expand_replicas: str | None = "0-1",
        max_bulk_bytes: int = 4 * 2**20,
        max_bulk_items: int = 2_000,
        max_in_flight: int = 2,
        request_timeout_seconds: float = 30.0,
        metrics: SinkMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[float], float] = equal_jitter,
    ) -> None:
        self.names = Names(prefix)
        self.metrics = metrics or CountingMetrics()
        self.client = connect(urls, api_key=api_key, basic_auth=basic_auth, ca_file=ca_file, request_timeout_seconds=request_timeout_seconds)
        self._template = template_body(self.names, refresh_interval=refresh_interval, replicas=auto_expand_replicas)
        self._max_bulk_bytes = max_bulk_bytes
        self._max_bulk_items = max_bulk_items
        self._max_in_flight = max_in_flight
        self._clock, self._sleep, self._jitter = clock, sleep, jitter
        self._months: set[str] = set()  # whose index is known to exist
        self._preparing = asyncio.Lock()

    async def start(self) -> None:
        """Put the index template in place, or update an older one. Waits, retrying, while Elasticsearch is not there."""
        await self._until_there(self._put_template)

    async def close(self) -> None:
        await self.client.close()

    async def __aenter__(self) -> ElasticsearchSink:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def write(self, items: Sequence[Item]) -> list[Refused]:
        """Write line items; returns when each is in the index (or a newer revision of it) or refused for good.

        Hand in a few thousand at a time: reading 10,000 items keeps the event loop busy for about 0.15 s.
        Retries forever what may pass, until cancelled; cancelling and writing the same items again is safe. Visible to searches
        after the refresh interval. Raises IndexConflict when an index of our name is not ours.
        """
        entries, refused, superseded = read_items(items)
        if superseded:
            self.metrics.superseded(superseded)
        bodies = chunks(entries, self.names, self._max_bulk_items, self._max_bulk_bytes)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._max_in_flight, len(entries))):
                    group.create_task(self._send_all(bodies, refused))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        if refused:
            self.metrics.refused(len(refused))
        return refused

    async def _send_all(self, bodies: Iterator[tuple[list[Entry], bytes]], refused: list[Refused]) -> None:
        for entries, body in bodies:  # shared by the senders of one write
            refused.extend(await self._send(entries, body))

    async def _send(self, entries: list[Entry], body: bytes) -> list[Refused]:
        """Send one body, then what is left of it, until nothing is."""
        refused: list[Refused] = []
        delay = _BACKOFF_FIRST_SECONDS
        while True:
            await self._prepare({entry.month for entry in entries})
            try:
                outcome = await self._bulk(entries, body)
            except (ApiError, TransportError, OSError) as error:
                if splits(error):
                    return refused + await self._halve(entries, error)
                outcome = Outcome()
                outcome.again(entries, *describe(error))
            refused += outcome.refused
            self.metrics.indexed(outcome.indexed)
            self.metrics.already_there(outcome.already_there)
            if not outcome.retry:
                return refused
            if outcome.index_missing:
                self._months.clear()  # somebody deleted an index: make sure of all of them again
            if len(outcome.retry) < len(entries):
                delay = _BACKOFF_FIRST_SECONDS
                entries = outcome.retry
                body = b"".join(encode(entry, self.names) for entry in entries)
            delay = await self._pause(outcome.kind, outcome.detail, len(entries), delay)

    async def _halve(self, entries: list[Entry], error: Exception) -> list[Refused]:
        """Two smaller requests instead of one that the server refused as a whole; a single item is refused for good."""
        kind, detail = describe(error)
        if len(entries) == 1:
            status = error.status_code if isinstance(error, ApiError) else 0
            return [entries[0].refused(status, detail)]
        self.metrics.retrying(kind, detail, len(entries), 0.0)
        refused = []
        middle = len(entries) // 2
        for half in (entries[:middle], entries[middle:]):
            refused += await self._send(half, b"".join(encode(entry, self.names) for entry in half))
        return refused

    async def _bulk(self, entries: Sequence[Entry], body: bytes) -> Outcome:
        started = self._clock()
        answer = await self.client.bulk(
            operations=body,  # type: ignore[arg-type]  # ready-made NDJSON is passed through
            require_alias=True,
            filter_path=["items.*._id", "items.*.status", "items.*.error"],
        )
        self.metrics.request(self._clock() - started, len(entries), len(body))
        return judge(entries, answer.body)

    async def _pause(self, kind: str, detail: str, items: int, delay: float) -> float:
        """Report, sleep, and return the next delay."""
        pause = self._jitter(delay)
        self.metrics.retrying(kind, detail, items, pause)
        await self._sleep(pause)
        return min(delay * 2, _BACKOFF_MAX_SECONDS)

    async def _until_there(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run an idempotent step, again and again while the cluster cannot do it; a mistake of ours or its setup is raised."""
        delay = _BACKOFF_FIRST_SECONDS
        while True:
            try:
                await step()
                return
            except (ApiError, TransportError, OSError) as error:
                kind, detail = describe(error)
                if isinstance(error, ApiError) and error.status_code == 400 and error_type(error) != "validation_exception":
                    raise RatemillError(f"Elasticsearch refuses the index template or index {self.names.alias}: {detail}") from error
                delay = await self._pause(kind, detail, 0, delay)

    async def _put_template(self) -> None:
        try:
            found = await self.client.indices.get_index_template(name=self.names.template)
            version = found["index_templates"][0]["index_template"].get("version", 0)
        except ApiError as error:
            if error.status_code != 404:
                raise
            version = -1
        if version > TEMPLATE_VERSION:
            return  # a newer worker has been here
        await self.client.indices.put_index_template(name=self.names.template, **self._template)
        if 0 <= version < TEMPLATE_VERSION:
            await self.client.indices.put_mapping(
                index=self.names.pattern, properties=self._template["template"]["mappings"]["properties"], allow_no_indices=True
            )

    async def _prepare(self, months: set[str]) -> None:
        """Make sure that the index of each month exists, with our mapping, before anything is written to it."""
        if months <= self._months:
            return
        async with self._preparing:
            for month in sorted(months - self._months):
                await self._until_there(lambda month=month: self._create(month))  # type: ignore[misc]
                self._months.add(month)

    async def _create(self, month: str) -> None:
        index, alias = self.names.index(month), self.names.write_alias(month)
        try:
            await self.client.indices.create(index=index, **index_body(self.names, month, self._template))
            return
        except ApiError as error:
            if error_type(error) != "resource_already_exists_exception":
                raise
        if await self.client.indices.exists_alias(index=index, name=alias):
            return
        # Made by the template, a restore or a re-index. Ours if its mapping says so: then only the aliases are missing.
        found = (await self.client.indices.get_mapping(index=index))[index]["mappings"]
        if found.get("dynamic") != "strict" or "ratemill_template" not in found.get("_meta", {}):
            raise IndexConflict(f"Elasticsearch index {index} exists with another mapping than Ratemill's; move or delete it, or set another prefix")
        await self.client.indices.put_alias(index=index, name=self.names.alias)
        await self.client.indices.put_alias(index=index, name=alias, is_write_index=True)


async def check(client: AsyncElasticsearch) -> None:
    """Raises Unavailable, or AccessDenied, in one line unless an Elasticsearch answers. (`GET /` is not used: a minimal server lacks it.)"""
    try:
        await client.cluster.health()
    except (ApiError, TransportError, OSError) as error:
        kind, detail = describe(error)
        if kind in ("http_401", "http_403", "tls"):
            raise AccessDenied(f"Elasticsearch does not let us in: {detail}") from error
        raise Unavailable(f"Elasticsearch does not answer: {detail}") from error
