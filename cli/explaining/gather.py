"""Gathering the facts about one line item, as of one moment.

The state of a partition moves while it is read. So it is read again and again, each time only what is new, until two passes
have brought nothing that concerns the line item: then what was read is of one moment. Line items, state and progress of one
commit stand in one transaction, and a pass waits for transactions that it meets, so no part of a commit can be missed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing
from typing import Any

from aiokafka import TopicPartition

from ...metering.tariff import EMPTY_TARIFF, Tariff
from ...schemas.control import Receipt
from ...schemas.errors import BadInput, Unavailable
from ...schemas.line_item import RatedLineItem, decode_line_item
from ...streams.config import Config
from ...streams.control_topic import Controls
from ...streams.core.items import group_prefix
from ...streams.core.segments import Rates
from ...streams.core.store import AMENDED, ENTRY, FROZEN, SAMPLE
from ...streams.prices_topic import read_published
from ...streams.progress import Progress, decode_progress
from ...streams.restore import spans
from ...streams.topics import Topics, partition_of
from .facts import Facts, Publication, Written, seconds
from .reading import Advance, fetch_document, find_on_kafka, pass_over
from .recompute import group_of, kind_of

__all__ = ["Bar", "gather"]

PASSES = 50
PATIENCE_S = 60.0  # for two passes that bring nothing new about the line item
CLOCK_MARGIN_S = 3_600  # by which clocks of workers and brokers may differ from those of collectors, beyond max_clock_skew_s
Bar = Callable[[str], AbstractContextManager[Advance]]


async def gather(config: Config, line_item_id: str, bar: Bar) -> Facts:
    """Everything about a line item but its events. Raises BadInput when there is none with the id, Unavailable, KafkaError, Unsettled."""
    away, found, where = "", None, "Elasticsearch"
    try:
        found = await fetch_document(config, line_item_id)
    except Unavailable as error:
        away = str(error)
    item = found
    if item is None:
        where = "usage.rated"
        with bar("looking through usage.rated") as advance:
            item = await find_on_kafka(config, line_item_id, advance)
        if item is None:
            hint = f" ({away})" if away else ""
            raise BadInput(f"there is no line item {line_item_id[:80]} in Elasticsearch or on usage.rated{hint}; give an x_LineItemId")
    gathering = _Gathering(config, line_item_id, item)
    await gathering.read_until_still(bar)
    newest = gathering.newest
    if not away and newest is not None and (found is None or found.x_revision < newest):
        try:
            found = await fetch_document(config, line_item_id)  # it may have arrived meanwhile
        except Unavailable as error:
            away = str(error)
    return gathering.facts(found, away, where)


class _Gathering:
    """What has been read so far, and whether the last pass brought anything about the line item."""

    def __init__(self, config: Config, line_item_id: str, item: RatedLineItem) -> None:
        topics = Topics.of(config.kafka)
        self._config = config
        self._id = line_item_id.encode()
        self._item = item
        self._subject = (item.x_corrected_line_item_id or line_item_id).encode()  # what corrections are about
        self.partition = partition_of(item.billing_account_id, config.kafka.partitions)
        self._rated, self._windows, self._progress_tp = (
            TopicPartition(topic, self.partition) for topic in (topics.rated, topics.windows, topics.progress)
        )
        self._control = TopicPartition(topics.control, 0)
        self._written: dict[int, Written] = {}
        self._related: dict[str, RatedLineItem] = {}
        self._state: dict[bytes, bytes] = {}
        self._progress = Progress(f"rate-{self.partition}")
        self._controls = Controls(config)
        self._publications: list[Publication] = []
        self._settled = False
        self._account = item.billing_account_id.encode() + b"\0"
        self._whole = kind_of(item) == "account"
        self._carried = False  # whether a meter that keeps samples feeds its SKU

    @property
    def newest(self) -> int | None:
        """The highest revision on usage.rated."""
        return max((record.item.x_revision for record in self._written.values()), default=None)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def read_until_still(self, bar: Bar) -> None:
        """Pass over the topics until two passes have brought nothing about the line item."""
        await self._read_publications()
        starts = await self._starts()
        deadline, still = time.monotonic() + PATIENCE_S, 0
        for number in range(PASSES):
            if number:
                changed = await self._pass(starts, None)
            else:
                with bar(f"reading partition {self.partition}") as advance:
                    changed = await self._pass(starts, advance)
                if not self._written:
                    starts[self._rated] = 0  # whatever clocks say, it may have been written earlier
            if not {self._progress.book, self._progress.repricing, self._progress.closed_book} - {""} <= {p.digest for p in self._publications}:
                await self._read_publications()
            still = 0 if changed else still + 1
            if still == 2:
                self._settled = True
                return
            if number and time.monotonic() > deadline:
                return

    async def _read_publications(self) -> None:
        window_s = self._config.rating.window_s
        found = [Publication(rates_of(EMPTY_TARIFF, window_s), "", "", "no price book", 0)]
        for each in await read_published(self._config):
            if each.tariff is not None and not each.record.draft:
                rates, record = rates_of(each.tariff, window_s), each.record
                found.append(Publication(rates, record.name, record.author, record.reason, record.published_at_ns))
        self._publications = found

    async def _starts(self) -> dict[TopicPartition, int]:
        """Where to begin: nothing about the line item was written before its period began."""
        item = self._item
        began = min(seconds(item.charge_period_start), seconds(item.billing_period_start))
        if item.x_corrected_period:
            began = min(began, seconds(f"{item.x_corrected_period}-01T00:00:00Z") - 86_400)
        since_ms = max(0, began - self._config.rating.max_clock_skew_s - CLOCK_MARGIN_S) * 1_000
        # Balances of an account, and samples that a meter carries over, may be older than the month.
        self._carried = any(meter.sku == item.sku_id and not meter.additive for each in self._publications for meter in each.rates.meters.all)
        wanted: dict[TopicPartition, int | None] = {
            self._rated: since_ms, self._windows: None if self._whole or self._carried else since_ms, self._progress_tp: None, self._control: None,
        }  # fmt: skip
        return {tp: found.start for tp, found in (await spans(self._config.kafka, wanted)).items()}

    async def _pass(self, starts: dict[TopicPartition, int], advance: Advance | None) -> bool:
        """Read what is new; True when any of it is about the line item."""
        changed = False
        async with aclosing(pass_over(self._config, starts, advance)) as records:
            async for tp, record in records:
                changed |= self._take(tp, record)
        return changed

    def _take(self, tp: TopicPartition, record: Any) -> bool:
        key, value = record.key, record.value
        if tp == self._rated:
            return self._take_line_item(record)
        if tp == self._windows:
            if key is None or not self._about(key):
                return False
            if value:
                self._state[key] = value
            else:
                self._state.pop(key, None)
            return True
        if tp == self._control:
            receipts = self._receipts()
            self._controls.take(record.offset, value)
            return self._receipts() != receipts
        if key != self._progress.lane.encode() or value is None:
            return False
        book, closed = self._book(), self._progress.closed_through
        self._progress = decode_progress(value)
        return (self._book(), self._progress.closed_through) != (book, closed)

    def _take_line_item(self, record: Any) -> bool:
        value = record.value
        if value is None:
            return False
        if record.key == self._id:
            self._written[record.offset] = Written(decode_line_item(value), record.timestamp, record.offset)
            return True
        if record.key == self._subject or self._subject in value:
            related = decode_line_item(value)
            self._related[related.x_line_item_id] = related
            return True
        return False

    def _about(self, key: bytes) -> bool:
        """Whether a key of the state is about the line item's account and, for usage, its SKU."""
        kind, rest = key[:1], key[1:]
        if kind in (ENTRY, FROZEN):
            return rest.startswith(self._account if self._whole else self._account + self._item.sku_id.encode() + b"\0")
        if kind == SAMPLE:
            return self._carried and rest.startswith(self._account)
        return kind == AMENDED

    # -- what it comes to --------------------------------------------------------------------------------------------

    def _receipts(self) -> dict[str, Receipt]:
        found = {request.id: self._controls.receipt(request.id, self.partition) for _, request in self._controls.requests}
        return {name: receipt for name, receipt in found.items() if receipt is not None}

    def _book(self) -> str:
        """Digest of the book by which the line item's group was rated last: while a new one is taken over, groups up to a point have it."""
        progress = self._progress
        if not progress.repricing or not progress.repriced:
            return progress.book
        key = None if self._whole else group_of(self._item, [each.rates for each in reversed(self._publications)])
        done = bytes.fromhex(progress.repriced)
        mine = self._account + b"\xff" if key is None else group_prefix(key)
        return progress.repricing if mine <= done else progress.book

    def facts(self, indexed: RatedLineItem | None, away: str, where: str) -> Facts:
        """All of it."""
        progress = self._progress
        return Facts(
            line_item_id=self._id.decode(),
            partition=self.partition,
            indexed=indexed,
            elasticsearch=away,
            written=[self._written[offset] for offset in sorted(self._written)],
            related=self._related,
            state=self._state,
            publications=self._publications,
            book=self._book() or EMPTY_TARIFF.digest,
            closed_first=progress.closed_first,
            closed_through=progress.closed_through,
            closed_book=progress.closed_book,
            requests={request.id: request for _, request in self._controls.requests},
            receipts=self._receipts(),
            next_offsets=dict(progress.next_offsets),
            settled=self._settled,
            read_from=where,
        )


def rates_of(tariff: Tariff, window_s: int) -> Rates:
    """A published tariff as rating uses it."""
    return Rates(tariff.book, window_s, tariff.meters, tariff.digest)
