"""The price book on its way to every worker: the compacted topic `ratemill.prices`, one record per version, never edited."""

from __future__ import annotations

import asyncio
import time

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from ..pricing.book import EMPTY_BOOK, PriceBook, parse_price_book
from ..schemas.errors import BadPriceBook, Unavailable
from .config import Config
from .topics import Topics, client_settings, ensure_topics

__all__ = ["Books", "PublishedBook", "publish_book"]


READY_S = 60.0


class PublishedBook(msgspec.Struct):
    """A published version: the text as it was checked, who published it, and why."""

    text: str
    name: str
    author: str
    reason: str
    published_at_ns: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(PublishedBook).decode


async def publish_book(config: Config, text: str, name: str, author: str, reason: str) -> PriceBook:
    """Check a price book and make it the one in force. Raises BadPriceBook, Unavailable."""
    book = parse_price_book(text, name)
    await ensure_topics(config)
    producer = AIOKafkaProducer(**client_settings(config.kafka), acks="all", enable_idempotence=True, max_request_size=17 << 20)
    try:
        await producer.start()
        value = _encode(PublishedBook(text, name, author, reason, time.time_ns()))
        await producer.send_and_wait(Topics.of(config.kafka).prices, value, key=book.digest.encode(), partition=0)
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka at {config.kafka.bootstrap}: {error!r}; the price book was perhaps not published, publish it again") from error
    finally:
        await producer.stop()
    return book


class Books:
    """All published versions, kept up to date in the background. One per worker."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._topic = Topics.of(config.kafka).prices
        self._published: dict[str, PublishedBook] = {}
        self._parsed: dict[str, PriceBook] = {EMPTY_BOOK.digest: EMPTY_BOOK}
        self._latest = ""
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("ratemill.prices")

    def start(self) -> None:
        """Begin to follow the topic."""
        self._task = asyncio.get_running_loop().create_task(self._follow(), name="prices")

    async def stop(self) -> None:
        """End following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=5)

    async def ready(self) -> None:
        """Wait until everything published before the start is known. Raises Unavailable after a minute."""
        try:
            await asyncio.wait_for(self._caught_up.wait(), READY_S)
        except TimeoutError as error:
            raise Unavailable(f"topic {self._topic} could not be read to its end within {READY_S:g} s; trying again") from error

    @property
    def latest(self) -> PriceBook | None:
        """The book published last; None when none was."""
        return self.get(self._latest) if self._latest else None

    def get(self, digest: str) -> PriceBook:
        """A published version by its digest. Raises Unavailable when it was not published (yet)."""
        book = self._parsed.get(digest)
        if book is None:
            published = self._published.get(digest)
            if published is None:
                raise Unavailable(f"price book {digest[:12]} is not on topic {self._topic}; publish it again")
            book = self._parsed[digest] = parse_price_book(published.text, published.name)
        return book

    def _take(self, key: bytes | None, value: bytes | None) -> None:
        try:
            published = _decode(value or b"")
            book = parse_price_book(published.text, published.name)
        except (msgspec.MsgspecError, BadPriceBook) as error:
            self._log.error("price_book_refused", key=(key or b"").decode(errors="replace"), detail=str(error).splitlines()[0])
            return
        self._published[book.digest] = published
        self._parsed[book.digest] = book
        self._latest = book.digest

    async def _follow(self) -> None:
        tp = TopicPartition(self._topic, 0)
        while True:
            consumer = AIOKafkaConsumer(
                **client_settings(self._config.kafka), enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed"
            )
            try:
                await consumer.start()
                consumer.assign([tp])
                end = (await consumer.end_offsets([tp]))[tp]
                await consumer.seek_to_beginning(tp)
                while True:
                    if await consumer.position(tp) >= end:
                        self._caught_up.set()
                    for records in (await consumer.getmany(tp, timeout_ms=500)).values():
                        for record in records:
                            self._take(record.key, record.value)
            except Exception as error:
                # Whatever it was: without prices nothing can be rated, so this goes on trying for as long as the worker lives.
                self._log.warning("prices_topic_unavailable", detail=repr(error))
                await asyncio.sleep(1)
            finally:
                await consumer.stop()
