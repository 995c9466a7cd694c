"""Control records: what people ask of the rating engine, and what became of it. The wire format of `ratemill.control`.

A request stands in the log once and is never edited. Every rate lane applies the requests in log order and answers each with
a receipt, in the very transaction that applies it. JSON, so that the topic can be read without us.

    Close            a month, and every one before it, is closed: later usage of it becomes a correction in the open month
    Amend            one event counts as another one, or not at all
    BackfillOpen     events of this backfill are awaited, in these event times
    BackfillClose    no more events of this backfill
    BackfillRevert   all events of this backfill count no longer
    Rerate           rate again what an account, a SKU or a month holds
    Receipt          what one partition made of a request
"""

from __future__ import annotations

import re

import msgspec

from .errors import UNREADABLE, BadInput
from .event_checks import check_event, check_text
from .usage_event import UsageEvent
from .versions import refuse_newer

__all__ = [
    "Amend",
    "BackfillClose",
    "BackfillOpen",
    "BackfillRevert",
    "Close",
    "ControlRecord",
    "Origin",
    "Receipt",
    "Request",
    "Rerate",
    "decode_control",
    "encode_control",
    "month_number",
    "month_text",
]

SCHEMA = 1  # not written yet: a record without one has schema 1
_ID = re.compile(r"[0-9a-f]{32}").fullmatch
_MONTH = re.compile(r"(2[01][0-9]{2})-(0[1-9]|1[0-2])").fullmatch


def month_number(period: str) -> int:
    """12 x year + month - 1 of `YYYY-MM`, years 2000 to 2199. Raises ValueError."""
    found = _MONTH(period)
    if found is None:
        raise ValueError(f"{period[:40]!r} is no month; write it as YYYY-MM, such as 2026-07")
    return 12 * int(found[1]) + int(found[2]) - 1


def month_text(number: int) -> str:
    """Inverse of `month_number`."""
    return f"{number // 12:04d}-{number % 12 + 1:02d}"


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """Place of an event in the raw log: the record that a collector published, and the event's place in it, from 0."""

    topic: str
    partition: int
    offset: int
    index: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}/{self.index}"


class _Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="control", forbid_unknown_fields=True):
    """What all requests say. Making one checks it: ValueError says what is wrong.

    id: uuid4 in hex, made by whoever asks; x_Cause of what follows names it. at_ns: when it was asked for, nanoseconds since 1970.
    """

    id: str
    author: str
    reason: str
    at_ns: int

    def __post_init__(self) -> None:
        if _ID(self.id) is None:
            raise ValueError(f"the id {self.id[:40]!r} is not 32 hexadecimal digits")
        check_text("author", self.author)
        check_text("reason", self.reason)


class Close(_Request, frozen=True, kw_only=True, tag="close"):
    """This month and every earlier one is closed. period: YYYY-MM."""

    period: str

    def __post_init__(self) -> None:
        _Request.__post_init__(self)
        month_number(self.period)

    @property
    def month(self) -> int:
        """The last month that is closed, as `month_number`."""
        return month_number(self.period)


class Amend(_Request, frozen=True, kw_only=True, tag="amend"):
    """The original event counts as `replacement`, or not at all (None: it is cancelled).

    original: as it stands in the log, also when it was amended before; the last amendment holds. The replacement keeps account,
    source and id: it is the same event, told better.
    """

    original: UsageEvent
    origin: Origin
    replacement: UsageEvent | None

    def __post_init__(self) -> None:
        _Request.__post_init__(self)
        for event in (self.original, self.replacement):
            if event is not None:
                check_event(event)
        new, old = self.replacement, self.original
        if new is not None and (new.account, new.source, new.id) != (old.account, old.source, old.id):
            raise ValueError("the replacement is another event: account, source and id must stay as they are")


class BackfillOpen(_Request, frozen=True, kw_only=True, tag="backfill_open"):
    """Events of the backfill `name` are awaited. from_ns (inclusive), to_ns (exclusive): their event times."""

    name: str
    from_ns: int
    to_ns: int

    def __post_init__(self) -> None:
        _Request.__post_init__(self)
        check_text("name", self.name)
        if self.from_ns >= self.to_ns:
            raise ValueError("the backfill ends before it begins")


class BackfillClose(_Request, frozen=True, kw_only=True, tag="backfill_close"):
    """No more events of the backfill `name` are awaited."""

    name: str

    def __post_init__(self) -> None:
        _Request.__post_init__(self)
        check_text("name", self.name)


class BackfillRevert(_Request, frozen=True, kw_only=True, tag="backfill_revert"):
    """All events that came with the backfill `name` count no longer."""

    name: str

    def __post_init__(self) -> None:
        _Request.__post_init__(self)
        check_text("name", self.name)


class Rerate(_Request, frozen=True, kw_only=True, tag="rerate"):
    """Rate again what these hold; "" means all accounts, all SKUs, all months (YYYY-MM)."""

    account: str = ""
    sku: str = ""
    period: str = ""

    def __post_init__(self) -> None:
        _Request.__post_init__(self)
        for name in ("account", "sku"):
            if value := getattr(self, name):
                check_text(name, value)
        if self.period:
            month_number(self.period)


class Receipt(msgspec.Struct, frozen=True, kw_only=True, tag_field="control", tag="receipt"):
    """What one partition made of a request, written in the transaction that applied it.

    outcome: one line for a person, the same words in every partition; numbers are in `counts`, so that receipts can be added up.
    applied: False when the request could not be applied and changed nothing; the outcome says why.
    next_offsets: source topic -> first offset that was not counted yet when the request took effect: what lies before came before it.
    book: digest of the price book in force. closed_through: last closed month as `month_number`, 0 when none is. revision:
    x_Revision of the line items that it wrote. counts: for example line_items, groups, events.
    """

    control_id: str
    partition: int
    outcome: str
    next_offsets: dict[str, int]
    book: str
    closed_through: int
    revision: int
    at_ns: int
    counts: dict[str, int] = {}
    applied: bool = True


Request = Close | Amend | BackfillOpen | BackfillClose | BackfillRevert | Rerate
ControlRecord = Request | Receipt

_encode = msgspec.json.Encoder(decimal_format="string").encode
_decode = msgspec.json.Decoder(ControlRecord).decode


def encode_control(record: ControlRecord) -> bytes:
    """Wire form of a request or a receipt."""
    return _encode(record)


def decode_control(value: bytes, where: str = "a control record") -> ControlRecord:
    """Inverse of `encode_control`. Raises NewerSchema for a schema to come, BadInput, one line, for anything else."""
    refuse_newer(value, SCHEMA, where)
    try:
        record: ControlRecord = _decode(value)
    except UNREADABLE as error:
        raise BadInput(f"not a control record: {' '.join(str(error).split())}") from error
    return record
