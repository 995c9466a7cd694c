"""What is known about a line item before anything is concluded: the one thing that reading hands to explaining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from ...pricing.months import billing_month
from ...schemas.control import BackfillRevert, Close, Receipt, Request, month_text
from ...schemas.line_item import RatedLineItem
from ...schemas.times import NS, parse_time
from ...streams.core.corrections import Closed
from ...streams.core.segments import Rates

__all__ = ["Facts", "Publication", "Written", "period_of", "seconds"]

OPERATOR, NOT_SHOWN = "the operator", "(not shown)"  # what a customer reads instead of a name and a reason


class Publication(NamedTuple):
    """A version of the price book as it stands on the topic, and who answers for it."""

    rates: Rates
    name: str
    author: str
    reason: str
    published_at_ns: int

    @property
    def digest(self) -> str:
        """What the book is called by."""
        return self.rates.digest


class Written(NamedTuple):
    """A record of usage.rated with the line item's id."""

    item: RatedLineItem
    written_at_ms: int
    offset: int


def period_of(item: RatedLineItem) -> str:
    """The month that a line item is billed in, YYYY-MM."""
    return month_text(billing_month(item))


def seconds(text: str) -> int:
    """Seconds since 1970 of a time on a line item."""
    return parse_time(text) // NS


class Facts(NamedTuple):
    """Everything that was read, as of one moment between two commits that concern the line item.

    indexed: the document of Elasticsearch, None when it has none or could not be asked (`elasticsearch` then says why).
    written: every revision that usage.rated still holds, in log order. related: newest revision of the line item that it
    corrects, and of all corrections of that one, by id. state: the state of the account's partition, as far as the line item
    depends on it, store key to value. publications: in the order of publication. book: digest of the price book by which the
    line item's group was rated last. closed_first, closed_through: first and last closed month (0: none); closed_book: the book
    of the last close. requests, receipts: of the control topic; the receipts of this partition alone. next_offsets: source topic
    -> first offset that the partition has not counted yet. settled: False when the state changed faster than it could be read, so
    that line item and state may be of different moments. confidential: the explanation names no account but that of the line item.
    """

    line_item_id: str
    partition: int
    indexed: RatedLineItem | None
    elasticsearch: str
    written: Sequence[Written]
    related: Mapping[str, RatedLineItem]
    state: Mapping[bytes, bytes]
    publications: Sequence[Publication]
    book: str
    closed_first: int
    closed_through: int
    closed_book: str
    requests: Mapping[str, Request]
    receipts: Mapping[str, Receipt]
    next_offsets: Mapping[str, int]
    settled: bool
    read_from: str
    confidential: bool = False

    def for_customer(self) -> Facts:
        """The same without what operators wrote for each other: authors, reasons and file names may be about any account."""
        return self._replace(
            publications=[each._replace(name="", author=OPERATOR, reason=NOT_SHOWN) for each in self.publications],
            requests={id: msgspec.structs.replace(each, author=OPERATOR, reason=NOT_SHOWN) for id, each in self.requests.items()},
            confidential=True,
        )

    @property
    def stored(self) -> RatedLineItem:
        """The line item that is explained: the last revision on usage.rated; without one, what Elasticsearch holds."""
        if self.written:
            return max(self.written, key=lambda record: record.item.x_revision).item
        if self.indexed is None:
            raise ValueError("facts about a line item that is nowhere")
        return self.indexed

    def publication(self, digest: str) -> Publication | None:
        """The last publication of a price book; None when it is not on the topic."""
        return next((each for each in reversed(self.publications) if each.digest == digest), None)

    @property
    def period(self) -> str:
        """The billing period of the line item, YYYY-MM."""
        return period_of(self.stored)

    @property
    def in_force(self) -> Publication | None:
        """The book by which the partition rates this line item."""
        return self.publication(self.book)

    @property
    def closed(self) -> Closed:
        """The last closed month of the partition."""
        book = self.publication(self.closed_book)
        return Closed(self.closed_through, None if book is None else book.rates, self.closed_first)

    def is_closed(self, period: str) -> bool:
        """Whether a billing period YYYY-MM is closed in this partition."""
        return bool(self.closed_through) and period <= month_text(self.closed_through)

    @property
    def reverted(self) -> dict[str, Mapping[str, int]]:
        """Backfills that were reverted: name -> first offsets, by topic, that the partition had not counted when it was."""
        return {
            request.name: receipt.next_offsets
            for key, receipt in self.receipts.items()
            if receipt.applied and isinstance(request := self.requests.get(key), BackfillRevert)
        }

    @property
    def last_close(self) -> Receipt | None:
        """What this partition answered to the last close; None when the request is not on the topic."""
        found = [receipt for key, receipt in self.receipts.items() if receipt.applied and isinstance(self.requests.get(key), Close)]
        return max((receipt for receipt in found if receipt.closed_through == self.closed_through), key=lambda each: each.revision, default=None)

    def close_of(self, period: str) -> tuple[Close, Receipt] | None:
        """The request that closed a billing period in this partition, the first that reached it; None when it is not on the topic."""
        found = [
            (receipt.revision, request, receipt)
            for key, receipt in self.receipts.items()
            if receipt.applied and isinstance(request := self.requests.get(key), Close) and request.period >= period
        ]
        return min(found, key=lambda each: each[0])[1:] if found else None
