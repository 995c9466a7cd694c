"""Every error of Ratemill has one root, and every rejected event is a record with a reason.

    RatemillError                 what went wrong, where, and what to do (one line)
    ├── BadInput                  a file, record or argument that cannot be used        exit status 2
    │   ├── BadPriceBook          every mistake of a price book, with file and line
    │   └── BadConfig             every mistake of the configuration, at once
    ├── Rejection                 one event (or record) that goes to the dead letters
    ├── NewerSchema               a record that a newer Ratemill wrote            exit status 2
    ├── Damaged                   state that Ratemill wrote itself, and cannot read back
    ├── Unavailable               Kafka, Elasticsearch or a file is not there (retriable)  exit status 1
    └── AccessDenied              Kafka or Elasticsearch is there and does not let us in   exit status 1
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec

__all__ = [
    "UNREADABLE", "AccessDenied", "BadConfig", "BadInput", "BadPriceBook", "Damaged", "NewerSchema", "RatemillError", "Reason", "Rejection",
    "Unavailable",
]  # fmt: skip

# What msgspec raises for bytes that it cannot read: also where they are no UTF-8, or nested too deep.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class RatemillError(Exception):
    """Root of all errors; its text is one line: what, where, what to do."""

    retriable: ClassVar[bool] = False
    exit_status: ClassVar[int] = 1


class BadInput(RatemillError):
    """Input from a person or a file that cannot be used as it is."""

    exit_status: ClassVar[int] = 2


class BadConfig(BadInput):
    """All mistakes of a configuration at once, one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class BadPriceBook(BadInput):
    """All mistakes of a price book at once, each `file:line: what; what to do`."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class NewerSchema(RatemillError):
    """A record that a newer Ratemill wrote, in a form that this one cannot read. Never a dead letter: it is as good as any other."""

    exit_status: ClassVar[int] = 2  # starting again does not help

    def __init__(self, where: str, found: int, known: int) -> None:
        super().__init__(
            f"{where} has schema {found}, this Ratemill knows schemas up to {known}; a newer one wrote it, and nothing was changed: upgrade this one"
        )


class Damaged(RatemillError):
    """State of our own, in a topic or in a store, that cannot be read. Going on without it would count wrongly.

    what: the thing that cannot be read; why: what the reader said.
    """

    def __init__(self, what: str, why: object) -> None:
        said = " ".join(str(why).split())[:300]
        super().__init__(f"{what} cannot be read: {said}; it was damaged, or written by another version of Ratemill: see docs/operations.md")


class Unavailable(RatemillError):
    """A service that is not there now and may be later."""

    retriable: ClassVar[bool] = True


class AccessDenied(RatemillError):
    """Kafka or Elasticsearch refuses our password or certificate, or what we want to do, or we its certificate: a person has to mend that."""


class Reason(StrEnum):
    """Why an event went to the dead letters. Stable: scripts and dashboards group by it."""

    NOT_DECODABLE = "not_decodable"  # not JSON, not UTF-8, truncated, nested too deep
    TOO_LARGE = "too_large"  # the record exceeds max_record_bytes
    TOO_DEEP = "too_deep"  # JSON nested deeper than max_depth
    NOT_SUPPORTED = "not_supported"  # well-formed, but of a kind that carries no usage we know
    MISSING_FIELD = "missing_field"  # id, source, account, sku, quantity, unit or time is absent or empty
    BAD_FIELD = "bad_field"  # a field has the wrong type, is too long, or holds control characters
    BAD_QUANTITY = "bad_quantity"  # NaN, infinite, or out of the range that is kept exactly
    BAD_TIME = "bad_time"  # not an RFC 3339 time with a zone, or outside the years that are accepted
    TOO_OLD = "too_old"  # older than max_event_age and not a declared backfill
    IN_THE_FUTURE = "in_the_future"  # further ahead than max_clock_skew
    CONFLICT = "conflict"  # same id as a counted event, other payload
    BACKFILL_OVER = "backfill_over"  # its backfill was closed or reverted
    OUTSIDE_BACKFILL = "outside_backfill"  # its time is not within the range its backfill was declared for
    MISPLACED = "misplaced"  # a topic keyed by account holds an account in a partition that is not its own
    UNMETERABLE = "unmeterable"  # a meter of its event type cannot make a quantity of it: another unit, a dimension that is no number
    RESERVED = "reserved"  # its SKU is what a meter of another event type gives, and may not be mixed with plain usage
    BAD_LINE_ITEM = "bad_line_item"  # Elasticsearch refused a line item (mapping, size): kept for repair


class Rejection(RatemillError):
    """One event or record that cannot count: raised by decoders, written to the dead letters by their callers.

    `reason` is the stable code, `detail` one line for a person.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
