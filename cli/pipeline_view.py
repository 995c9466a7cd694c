"""One view of the pipeline for all who ask: Kafka and Elasticsearch looked at together, at most once a second."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

from elasticsearch import AsyncElasticsearch

from ..schemas.errors import RatemillError
from ..schemas.pipeline import PipelineHealth
from ..sinks.elasticsearch import connect
from ..sinks.unpriced import Unpriced, read_unpriced
from ..streams.config import Config
from ..streams.pipeline import Look, health_of
from ..streams.pipeline_reader import PipelineReader

__all__ = ["PipelineView"]

KEEP_S = 1.0
ANSWER_WITHIN_S = 4.0  # less than Prometheus waits for a scrape
ELASTICSEARCH_WITHIN_S = 3.0

_log = logging.getLogger("ratemill.pipeline")


class PipelineView:
    """Gives the health of a pipeline, and raises for nothing that is away: `notes` name it, `trouble` and the log tell more."""

    def __init__(self, config: Config, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._config, self._now_ms = config, now_ms
        self._reader = PipelineReader(config, now_ms)
        self._elasticsearch: AsyncElasticsearch | None = None
        self._before: Look | None = None
        self._look: asyncio.Task[PipelineHealth] | None = None
        self._looked_at = 0.0
        self.trouble: list[str] = []

    async def __call__(self) -> PipelineHealth:
        """How it stands, not older than a second. A look that takes long goes on while this says so: whoever asks next has it."""
        look = self._look
        if look is None or (look.done() and time.monotonic() - self._looked_at >= KEEP_S):
            look = self._look = asyncio.get_running_loop().create_task(self._both())
        await asyncio.wait([look], timeout=ANSWER_WITHIN_S)
        if not look.done():
            return PipelineHealth(status="stale", freshness_s=None, notes=[f"the look takes longer than {ANSWER_WITHIN_S:g} s; ask again"])
        return look.result()

    async def close(self) -> None:
        """Close the connections."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])
        async with AsyncExitStack() as stack:
            if self._elasticsearch is not None:
                stack.push_async_callback(self._elasticsearch.close)
            stack.push_async_callback(self._reader.close)

    async def _both(self) -> PipelineHealth:
        trouble: dict[str, str] = {}
        kafka, unpriced = await asyncio.gather(self._kafka(trouble), self._unpriced(trouble))
        health = PipelineHealth(status="stale", freshness_s=None) if kafka is None else health_of(kafka, self._before)
        self._before, self._looked_at = kafka or self._before, time.monotonic()
        for name, words in trouble.items():
            if words not in self.trouble:
                _log.warning("pipeline not seen: %s: %s", name, words)  # here, and not in the answer: addresses are nobody's business
        self.trouble = sorted(trouble.values())
        notes = [*health.notes, *(f"{name} does not answer, or not as it should" for name in sorted(trouble, reverse=True))]
        if unpriced is None:
            return replace(health, notes=notes)
        age = None if unpriced.oldest_ms is None else max(0, self._now_ms() - unpriced.oldest_ms) / 1_000
        return replace(health, unpriced=unpriced.line_items, oldest_unpriced_s=age, notes=notes)

    async def _kafka(self, trouble: dict[str, str]) -> Look | None:
        try:
            return await self._reader.look()
        except RatemillError as error:
            trouble["Kafka"] = str(error)
            return None

    async def _unpriced(self, trouble: dict[str, str]) -> Unpriced | None:
        elasticsearch = self._config.elasticsearch
        try:
            if self._elasticsearch is None:
                self._elasticsearch = connect(elasticsearch.url, **elasticsearch.access)
            async with asyncio.timeout(ELASTICSEARCH_WITHIN_S):
                return await read_unpriced(self._elasticsearch, elasticsearch.index_prefix)
        except (RatemillError, TimeoutError) as error:
            trouble["Elasticsearch"] = str(error) or f"Elasticsearch: no answer within {ELASTICSEARCH_WITHIN_S:g} s"
            return None
