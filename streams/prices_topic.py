"""The price book on its way to every worker: the topic `ratemill.prices`, one record per publication, never edited.

A record puts a book in force, or is a *draft*: a book that is only tried on the live usage, beside the one in force. The last draft
counts until another one comes, until one without text ends it, or until the very same book is put in force. Each record has a key of
its own, so compaction keeps all of them: they are the history of the prices, with author and reason.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from ..metering.tariff import EMPTY_TARIFF, Tariff, parse_tariff
from ..pricing.book import PriceBook
from ..schemas.errors import UNREADABLE, BadPriceBook, Unavailable
from ..schemas.versions import refuse_newer
from .config import Config
from .following import Follower
from .reach import client_settings, not_allowed
from .restore import read_to_end
from .topics import Topics, ensure_topics, existing_topics

__all__ = [
    "Books", "InForce", "Live", "Published", "PublishedBook", "end_draft", "in_force", "is_draft", "publish_book", "read_live", "read_published",
]  # fmt: skip


SCHEMA = 1


class PublishedBook(msgspec.Struct, tag_field="schema", tag=SCHEMA):
    """A published version: the text as it was checked, who published it, and why."""

    text: str  # "" ends the draft
    name: str
    author: str
    reason: str
    published_at_ns: int
    draft: bool = False  # tried beside the book in force, never put in its place
    meters: str = ""  # text of meters in a file of their own, "" when they stand in `text` or there are none
    meters_name: str = ""

    def tariff(self) -> Tariff:
        """What was published. Raises BadPriceBook."""
        return parse_tariff(self.text, self.name, self.meters or None, self.meters_name or None)


class Published(NamedTuple):
    """One record of the topic, read: tariff is None where a draft ends."""

    record: PublishedBook
    tariff: Tariff | None

    @property
    def book(self) -> PriceBook | None:
        """The price book in the tariff."""
        return None if self.tariff is None else self.tariff.book


class InForce(NamedTuple):
    """Which records count: the one that put the present book in force, and that of the draft that runs beside it."""

    live: Published | None = None
    draft: Published | None = None

    def then(self, found: Published) -> InForce:
        """The same after one more record."""
        if found.record.draft:
            return InForce(self.live, None if found.tariff is None or _same(found, self.live) else found)
        # What was tried may be in force now: then there is nothing left to compare.
        return InForce(found, None if _same(found, self.draft) else self.draft)


def in_force(published: Iterable[Published]) -> InForce:
    """What counts of everything published, in the order of the topic."""
    found = InForce()
    for record in published:
        found = found.then(record)
    return found


def _same(one: Published, other: Published | None) -> bool:
    return other is not None and one.tariff is not None and other.tariff is not None and one.tariff.digest == other.tariff.digest


_REFUSED = (*UNREADABLE, BadPriceBook)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(PublishedBook).decode


async def publish_book(
    config: Config, text: str, name: str, author: str, reason: str, *, draft: bool = False, meters: str = "", meters_name: str = ""
) -> Tariff:
    """Check a price book with its meters and make it the one in force, or the draft beside it. Raises BadPriceBook, Unavailable.

    meters: text of a file of their own, "" when they stand in the book's.
    """
    record = PublishedBook(text, name, author, reason, time.time_ns(), draft, meters, meters_name)
    tariff = record.tariff()
    await _publish(config, record, tariff.digest)
    return tariff


async def end_draft(config: Config, author: str, reason: str) -> None:
    """No draft runs beside the live book from now on. Raises Unavailable."""
    await _publish(config, PublishedBook("", "", author, reason, time.time_ns(), True), "end")


async def read_published(config: Config) -> list[Published]:
    """Everything published so far, drafts too, in the order of the topic. Raises Unavailable, Unsettled, NewerSchema."""
    topic = Topics.of(config.kafka).prices
    await ensure_topics(config, {topic})
    found: list[Published] = []
    async for _, records in read_to_end(config.kafka, {TopicPartition(topic, 0): 0}):
        for record in records:
            try:
                found.append(_read(record.value, topic, record.offset))
            except _REFUSED:
                continue  # refused by every worker too, which says so in its log
    return found


class Live(NamedTuple):
    """The book in force as of an offset. found: None when none is. next: of the first record that was not read."""

    found: Published | None = None
    next: int = 0


async def read_live(config: Config, known: Live) -> Live:
    """The book in force now. known: what was found before; only what came since is read. Raises Unavailable, Unsettled, NewerSchema."""
    topic, following = Topics.of(config.kafka).prices, known.next
    if not await existing_topics(config, {topic}):
        return known
    came: list[tuple[int, bytes | None]] = []
    async for _, records in read_to_end(config.kafka, {TopicPartition(topic, 0): known.next}):
        came += [(record.offset, record.value) for record in records if not is_draft(record.value)]
        following = records[-1].offset + 1
    for offset, value in reversed(came):
        try:
            return Live(_read(value, topic, offset), following)
        except _REFUSED:
            continue
    return Live(known.found, following)


def is_draft(value: bytes | None) -> bool:
    """Whether a record puts nothing in force: it begins or ends a draft."""
    try:
        return _decode(value or b"").draft
    except UNREADABLE:
        return False


def _read(value: bytes | None, topic: str, offset: int) -> Published:
    """Raises NewerSchema, and what is in _REFUSED."""
    refuse_newer(value or b"", SCHEMA, f"the price book at {topic}/0/{offset}")
    record = _decode(value or b"")
    ends = record.draft and not record.text
    return Published(record, None if ends else record.tariff())


async def _publish(config: Config, record: PublishedBook, digest: str) -> None:
    topic = Topics.of(config.kafka).prices
    await ensure_topics(config, {topic})
    producer = AIOKafkaProducer(**client_settings(config.kafka), acks="all", enable_idempotence=True, max_request_size=17 << 20)
    try:
        await producer.start()
        # A key of its own for each record: a book that is published again is another entry of the history.
        key = f"{digest}:{record.published_at_ns}".encode()
        await producer.send_and_wait(topic, _encode(record), key=key, partition=0)
    except (KafkaError, OSError) as error:
        raise not_allowed(config.kafka, error) or Unavailable(
            f"Kafka at {config.kafka.bootstrap}: {error!r}; the price book was perhaps not published, publish it again"
        ) from error
    finally:
        await producer.stop()


class Books(Follower):
    """All published versions, kept up to date in the background. One per worker."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, Topics.of(config.kafka).prices, "prices")
        self._parsed: dict[str, Tariff] = {EMPTY_TARIFF.digest: EMPTY_TARIFF}
        self._in_force = InForce()

    def record(self, record: Any) -> None:
        self._take(record.key, record.value, record.offset)

    @property
    def latest(self) -> Tariff | None:
        """The book that was put in force last; None when none was. Never a draft."""
        return None if self._in_force.live is None else self._in_force.live.tariff

    @property
    def draft(self) -> Tariff | None:
        """The book that is tried beside the one in force; None when none is."""
        return None if self._in_force.draft is None else self._in_force.draft.tariff

    def get(self, digest: str) -> Tariff:
        """A published version by its digest. Raises Unavailable when it was not published (yet)."""
        book = self._parsed.get(digest)
        if book is None:
            raise Unavailable(f"price book {digest[:12]} is not on topic {self._topic}; publish it again")
        return book

    def _take(self, key: bytes | None, value: bytes | None, offset: int = 0) -> None:
        try:
            found = _read(value, self._topic, offset)
        except _REFUSED as error:
            self._log.error("price_book_refused", key=(key or b"").decode(errors="replace"), detail=str(error).splitlines()[0])
            return
        if found.tariff is not None:
            self._parsed[found.tariff.digest] = found.tariff
        self._in_force = self._in_force.then(found)
