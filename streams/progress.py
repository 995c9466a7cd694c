"""How far a partition has come, and the conservation counters: received = counted + duplicates + dead-lettered.

One record per commit on the compacted topic `ratemill.state.progress`, written in the transaction it describes.
"""

from __future__ import annotations

import msgspec

from ..schemas.errors import UNREADABLE, Damaged
from ..schemas.versions import refuse_newer

__all__ = ["Counters", "Progress", "decode_progress", "encode_progress"]

SCHEMA = 1


class Counters(msgspec.Struct, omit_defaults=True):
    """Events of one source partition since the beginning. `received` counts an undecodable record as one event."""

    received: int = 0
    counted: int = 0  # for normalize: passed on to usage.events; for index: line items visible or superseded
    duplicates: int = 0
    dead_lettered: int = 0

    @property
    def balanced(self) -> bool:
        """Invariant 2."""
        return self.received == self.counted + self.duplicates + self.dead_lettered


class Progress(msgspec.Struct, omit_defaults=True, tag_field="schema", tag=SCHEMA):
    """State of one lane (an agent on one partition) as of its last commit.

    It is written as {"schema": 1, …}, and that is the schema of everything in the same transaction: of the changelogs too.
    """

    lane: str  # "rate-0", "normalize-usage.raw.aws-3", "index-2"
    revision: int = 0  # commits so far; x_Revision of the line items of the last one
    next_offsets: dict[str, int] = {}  # source topic -> first offset not yet consumed
    sources: dict[str, Counters] = {}  # source topic -> counters
    book: str = ""  # digest of the price book in force
    repricing: str = ""  # digest of the book that is being taken over, "" when none is
    repriced: str = ""  # hex of the last group that the sweep under way has visited, be it for a price book, a close or a re-rating
    counts: dict[str, int] = {}  # what the request under way has come to so far, where it takes several commits
    control_offset: int = 0  # the first request on ratemill.control that was not yet answered
    closed_through: int = 0  # last closed month, 12 x year + month - 1; 0: none
    closed_first: int = 0  # month of the very first close
    closed_book: str = ""  # digest of the price book that was in force when it was closed

    def of(self, topic: str) -> Counters:
        """Counters of a source topic, made when they are the first."""
        return self.sources.setdefault(topic, Counters())


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Progress).decode


def encode_progress(progress: Progress) -> bytes:
    """Wire form."""
    return _encode(progress)


def decode_progress(value: bytes, where: str = "a progress record") -> Progress:
    """Inverse of `encode_progress`. Raises NewerSchema for a schema to come, Damaged for what cannot be read."""
    refuse_newer(value, SCHEMA, where)
    try:
        return _decode(value)
    except UNREADABLE as error:
        raise Damaged(where, error) from error
