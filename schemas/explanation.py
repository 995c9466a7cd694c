"""What an explanation of a line item holds. All amounts are exact decimals as text, all times UTC, so `--json` is this as it is."""

from __future__ import annotations

import msgspec

__all__ = [
    "DIFFERS",
    "EQUAL",
    "UNKNOWN",
    "Arithmetic",
    "Check",
    "CorrectionShown",
    "Difference",
    "EventShown",
    "Events",
    "Explanation",
    "Part",
    "PriceFacts",
    "Published",
    "Revision",
    "Step",
    "Subject",
    "Terms",
    "Value",
]

EQUAL, DIFFERS, UNKNOWN = "equal", "differs", "unknown"


class Subject(msgspec.Struct):
    """What the line item is."""

    line_item_id: str
    revision: int
    account: str
    sku: str
    kind: str  # "window": usage of one window; "period": a charge of an accumulation period; "account": a charge of the account's month
    component: str
    adjustment: str
    description: str
    category: str
    charge_class: str
    charge_period_start: str
    charge_period_end: str
    billing_period: str  # YYYY-MM
    status: str  # "estimate", "final", "withdrawn"
    status_in_words: str
    corrects_period: str
    corrects_line_item: str
    region: str
    resource: str
    dimensions: str
    provider: str
    quantity: str
    unit: str
    unit_price: str  # "" where there is no price
    cost: str
    currency: str
    pricing_currency: str  # "" where it is the billing currency
    exchange_rate: str


class Published(msgspec.Struct):
    """A version of the price book: who put it in force, when and why."""

    digest: str
    name: str
    author: str
    reason: str
    published_at: str


class PriceFacts(msgspec.Struct):
    """The price behind a line item."""

    id: str
    version: str
    model: str
    unit: str
    currency: str
    accumulate: str
    effective_from: str  # "always" where the book names no beginning
    effective_to: str  # "" where nothing ends it
    in_words: list[str]
    introduced: Published | None  # the first book on the topic that holds this version
    in_force: Published | None  # the book by which the partition rates now
    held: bool  # whether that book holds this version


class Terms(msgspec.Struct):
    """The terms of the account behind a charge of it: adjustments, fees, commitments, credits."""

    digest: str
    currency: str
    steps: list[str]  # ids, in the order in which they are applied
    introduced: Published | None  # the first book on the topic under which the account had these terms
    in_force: Published | None


class Value(msgspec.Struct):
    """One named figure or fact, in the order in which they are read."""

    name: str
    value: str
    note: str = ""


class Part(msgspec.Struct):
    """quantity x unit price = amount; `this` marks the part that is this line item."""

    name: str
    range: str
    quantity: str
    unit_price: str
    amount: str
    note: str = ""
    this: bool = False


class Step(msgspec.Struct):
    """One step from the amounts of the parts to what is due."""

    name: str
    amount: str
    due: str  # after this step
    note: str = ""
    this: bool = False


class Arithmetic(msgspec.Struct):
    """How quantities and amounts come about."""

    title: str
    values: list[Value] = []
    crossed: list[str] = []  # tier bounds that lie in this window
    parts: list[Part] = []
    steps: list[Step] = []


class Difference(msgspec.Struct):
    """A field in which two things that must be equal are not."""

    field: str
    stored: str | None
    expected: str | None


class Check(msgspec.Struct):
    """One statement of the audit and its verdict: "equal", "differs", or "unknown" with the reason in `says`."""

    name: str
    verdict: str
    says: str
    differences: list[Difference] = []


class Revision(msgspec.Struct):
    """A revision of the line item that the log still holds."""

    revision: int
    written_at: str
    offset: int
    quantity: str
    cost: str
    withdrawn: bool
    cause: str  # as on the line item
    cause_in_words: str


class CorrectionShown(msgspec.Struct):
    """A line item that corrects the one that is explained."""

    line_item_id: str
    billing_period: str
    quantity: str
    cost: str


class EventShown(msgspec.Struct):
    """One counted event, and the place of the record that a collector published."""

    source: str
    id: str
    time: str
    quantity: str
    unit: str
    topic: str
    partition: int
    offset: int
    index: int  # place of the event in its record
    note: str = ""


class Events(msgspec.Struct):
    """The usage behind a line item."""

    scope: str  # which events were looked for, or why none were
    looked_for: bool = False
    counted: int = 0
    quantity: str = "0"  # sum of what counts
    expected: str = ""  # what the sum must be
    duplicates: int = 0
    rejected: int = 0  # conflicts and others that went to the dead letters
    amended: int = 0  # counted with another quantity, or no more, by a request
    reverted: int = 0  # came with a backfill that was reverted
    page: int = 1
    pages: int = 1
    shown: list[EventShown] = []
    note: str = ""


class Explanation(msgspec.Struct):
    """A line item, explained."""

    line_item: Subject
    verdict: str  # of all checks: "differs" if any does, else "unknown" if any is, else "equal"
    audit: list[Check]
    price: PriceFacts | None
    terms: Terms | None  # of a charge of the account
    unpriced: str  # why there is no price, "" where there is one
    arithmetic: list[Arithmetic]
    revisions: list[Revision]
    revisions_note: str
    corrections: list[CorrectionShown]
    events: Events
    partition: int
    read_from: str
