"""What `ratemill explain` asks Kafka and Elasticsearch: one document, and passes over partitions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import msgspec
from aiokafka import TopicPartition
from elasticsearch import ApiError, AsyncElasticsearch, TransportError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ...schemas.errors import BadInput, Unavailable
from ...schemas.line_item import RatedLineItem, decode_line_item
from ...sinks.bulk import describe
from ...sinks.elasticsearch import connect
from ...sinks.templates import Names
from ...streams.config import Config
from ...streams.restore import read_to_end, spans
from ...streams.topics import Topics, existing_topics
from ..dead_letter_topic import partitions_of

__all__ = ["Advance", "fetch_document", "find_on_kafka", "log_begins", "no_bar", "pass_over", "progress_bar"]

ELASTICSEARCH_TIMEOUT_S = 10.0
Advance = Callable[[int, int], Any]  # records read, records to read
Record = Any  # an aiokafka ConsumerRecord; the library has no types to follow


async def fetch_document(config: Config, line_item_id: str) -> RatedLineItem | None:
    """What Elasticsearch holds of a line item; None when nothing. Raises Unavailable."""
    found = config.elasticsearch
    client: AsyncElasticsearch | None = None
    try:
        client = connect(found.url, request_timeout_seconds=ELASTICSEARCH_TIMEOUT_S, **found.access)
        answer = await client.search(
            index=Names(found.index_prefix).alias, query={"ids": {"values": [line_item_id]}}, source_excludes=["x_Limbs"], size=2,
            ignore_unavailable=True, allow_partial_search_results=False,
        )  # fmt: skip
    except ValueError as error:  # an address without scheme or port
        raise BadInput(f"Elasticsearch address {found.url!r}: {error}") from error
    except (ApiError, TransportError, OSError) as error:
        raise Unavailable(f"Elasticsearch cannot be asked: {describe(error)[1]}") from error
    finally:
        if client is not None:
            await client.close()
    hits = answer["hits"]["hits"]
    if not hits:
        return None
    try:
        return max((msgspec.convert(hit["_source"], RatedLineItem) for hit in hits), key=lambda item: item.x_revision)
    except msgspec.ValidationError as error:
        raise Unavailable(f"Elasticsearch holds a document {line_item_id} that is no line item: {error}") from error


async def find_on_kafka(config: Config, line_item_id: str, advance: Advance) -> RatedLineItem | None:
    """The newest revision of a line item, from all of usage.rated; None when it is nowhere. Reads every partition whole."""
    topic = Topics.of(config.kafka).rated
    starts = {TopicPartition(topic, number): 0 for number in await partitions_of(config, topic)}
    if not starts:
        return None
    wanted, last = line_item_id.encode(), None
    async with aclosing(pass_over(config, starts, advance)) as records:
        async for _, record in records:
            if record.key == wanted and record.value is not None:
                last = record.value
    return None if last is None else decode_line_item(last)


async def pass_over(
    config: Config, starts: dict[TopicPartition, int], advance: Advance | None
) -> AsyncGenerator[tuple[TopicPartition, Record]]:
    """Every committed record from `starts` to the end as of now; `starts` is moved on to where reading ended."""
    total = done = 0
    if advance is not None:
        there = await spans(config.kafka, dict.fromkeys(starts))
        total = sum(max(0, there[tp].end - max(start, there[tp].start)) for tp, start in starts.items())
        advance(0, total)
    async with aclosing(read_to_end(config.kafka, dict(starts))) as batches:  # type: ignore[type-var]
        async for tp, records in batches:
            for record in records:
                yield tp, record
            done += len(records)
            starts[tp] = records[-1].offset + 1
            if advance is not None:
                advance(min(done, total), total)


async def log_begins(config: Config, partition: int, since_ms: int) -> str:
    """Where the log of a partition's events begins too late to hold all that came since a time; "" where it holds all."""
    topics = Topics.of(config.kafka)
    there = await existing_topics(config, topics.rate_sources)
    found = await spans(config.kafka, {TopicPartition(topic, partition): since_ms for topic in topics.rate_sources if topic in there})
    cut = [f"{tp.topic}-{tp.partition} begins at offset {its.start:,}" for tp, its in found.items() if its.cut]
    return f"{', '.join(cut)}: retention may have taken earlier events" if cut else ""


@contextmanager
def progress_bar(what: str) -> Iterator[Advance]:
    """A bar on standard error where somebody watches, once there is much to read."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=total >= 5_000)

        yield advance


@contextmanager
def no_bar(_: str) -> Iterator[Advance]:
    """In its place where nobody watches: in a server."""
    yield lambda done, total: None
