"""What the pipeline holds after the demo: the counters of its lanes, the rated topic, Elasticsearch, and the offline answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..cli.committed import CommittedTopic
from ..cli.offline import OfflineRating, Totals
from ..collectors.files import read_pieces
from ..metering.tariff import make_tariff
from ..pricing.book import PriceBook
from ..schemas.line_item import PROVENANCE_FIELDS
from ..sinks.costs import fetch_line_items
from ..sinks.elasticsearch import connect
from ..streams.config import Config
from ..streams.progress import Counters, Progress, decode_progress
from ..streams.topics import Topics, ensure_topics
from .rows import Source

__all__ = ["Flow", "Views", "differences", "offline_items", "read_flow", "read_views", "statement"]


@dataclass
class Flow:
    """Conservation counters, added up over partitions, and how many records each topic holds."""

    normalized: dict[str, Counters] = field(default_factory=dict)  # raw topic -> counters
    rated: Counters = field(default_factory=Counters)
    indexed: Counters = field(default_factory=Counters)

    @property
    def balanced(self) -> bool:
        """Invariant 2, lane by lane and from lane to lane: what is passed on arrives."""
        passed_on = sum(counters.counted for counters in self.normalized.values())
        return all(c.balanced for c in (*self.normalized.values(), self.rated, self.indexed)) and passed_on == self.rated.received

    @property
    def dead_lettered(self) -> int:
        """Events that all lanes together put into the dead letters."""
        return sum(c.dead_lettered for c in (*self.normalized.values(), self.rated, self.indexed))


@dataclass
class Views:
    """The line items as each place holds them: id -> statement, and revisions."""

    rated: dict[str, bytes] = field(default_factory=dict)
    rated_revisions: dict[str, int] = field(default_factory=dict)
    records: int = 0  # on the rated topic, all revisions
    withdrawn: int = 0
    indexed: dict[str, bytes] = field(default_factory=dict)
    indexed_revisions: dict[str, int] = field(default_factory=dict)
    dead_letters: int = 0
    items: list[dict[str, Any]] = field(default_factory=list)  # those that count, from the rated topic


async def read_flow(config: Config) -> Flow:
    """The latest counters of every lane."""
    topics = Topics.of(config.kafka)
    await ensure_topics(config)  # the worker may not have come to it yet
    latest: dict[str, Progress] = {}
    async for record in CommittedTopic(config, topics.progress).read():
        if record.value is not None:
            progress = decode_progress(record.value)
            if progress.lane not in latest or latest[progress.lane].revision < progress.revision:
                latest[progress.lane] = progress
    flow = Flow()
    for lane, progress in latest.items():
        for topic, counters in progress.sources.items():
            agent = lane.split("-")[0]
            if agent == "normalize":
                _add(flow.normalized.setdefault(topic, Counters()), counters)
            elif agent in ("rate", "index"):
                _add(flow.rated if agent == "rate" else flow.indexed, counters)
    return flow


def _add(total: Counters, more: Counters) -> None:
    total.received += more.received
    total.counted += more.counted
    total.duplicates += more.duplicates
    total.dead_lettered += more.dead_lettered


async def read_views(config: Config) -> Views:
    """The rated topic (read committed, latest revision) and every document of Elasticsearch."""
    topics, views = Topics.of(config.kafka), Views()
    latest: dict[str, dict[str, Any]] = {}
    async for record in CommittedTopic(config, topics.rated).read():
        if record.value is not None:
            views.records += 1
            item = msgspec.json.decode(record.value)
            old = latest.get(item["x_LineItemId"])
            if old is None or old["x_Revision"] < item["x_Revision"]:
                latest[item["x_LineItemId"]] = item
    views.rated_revisions = {key: item["x_Revision"] for key, item in latest.items()}
    views.items = [item for item in latest.values() if not item.get("x_Withdrawn")]
    views.withdrawn = len(latest) - len(views.items)
    views.rated = {item["x_LineItemId"]: statement(item) for item in views.items}
    async for _ in CommittedTopic(config, topics.dead_letter).read():
        views.dead_letters += 1
    client = connect(config.elasticsearch.url, **config.elasticsearch.access)
    try:
        async for item in fetch_line_items(client, config.elasticsearch.index_prefix):
            views.indexed_revisions[item["x_LineItemId"]] = item["x_Revision"]
            if not item.get("x_Withdrawn"):
                views.indexed[item["x_LineItemId"]] = statement(item)
    finally:
        await client.close()
    return views


def statement(item: Mapping[str, Any]) -> bytes:
    """What a line item says, as bytes: without the fields that only tell how it came about."""
    return json.dumps({k: v for k, v in item.items() if k not in PROVENANCE_FIELDS}, sort_keys=True, ensure_ascii=False).encode()


def offline_items(sources: Sequence[Source], book: PriceBook, window_s: int) -> tuple[list[dict[str, Any]], Totals]:
    """What `ratemill rate` makes of the same files."""
    rating = OfflineRating(make_tariff(book), window_s, lambda rejected: None)
    for source in sources:
        rating.add(read_pieces(source.path, source.format), source.format)
    return [msgspec.json.decode(line) for _, line in rating.line_items()], rating.totals


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Ids that are in one only, or differ."""
    return sorted({key for key in (*a, *b) if a.get(key) != b.get(key)})


def statements(items: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    """Statements of line items by id."""
    return {item["x_LineItemId"]: statement(item) for item in items}
