"""What the stateful step asks of its storage, and the store that lives in memory.

Keys are bytes. An entry's key is its group's prefix followed by its entry key, so the windows of one (account, sku, unit,
month) are a prefix scan in chronological order. Only committed data is ever in a store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sortedcontainers import SortedDict

from ...schemas.errors import Damaged
from ...schemas.usage_event import hot

__all__ = [
    "AMENDED", "BACKFILL", "BACKFILLED", "BALANCES", "ENTRY", "FREED", "FROZEN", "INVOICED", "SAMPLE", "SHADOW", "TALLY",
    "Effects", "Layered", "MemoryStore", "Store", "ids_of", "new_ids", "pack_ids", "unpack_ids",
]  # fmt: skip

# First byte of a key: what it is about. A value b"" means that there is nothing any more: it stands in the compacted changelog
# for what was there, and readers skip it.
ENTRY = b"e"  # usage of one window: group prefix + entry key -> quantity NUL provider
SAMPLE = b"s"  # what a meter that is not additive has read: series + time + source + id -> value
FROZEN = b"f"  # entries of a group of a closed month as they were when the last month was closed
TALLY = b"t"  # what an account used and corrected in a month: the input of its statement
INVOICED = b"i"  # the same of closed months, as it was when the last month was closed
BALANCES = b"k"  # what was left of an account's credits when its first month began, where earlier months are not in the store
AMENDED = b"a"  # identity hash of an amended event -> the event and what it counts as
BACKFILLED = b"b"  # name of a backfill + identity hash -> the event, so that it can be reverted
BACKFILL = b"r"  # name of a backfill -> its range, and whether events may still come
FREED = b"u"  # identity hash of a reverted event: it may be counted once more
SHADOW = b"v"  # tallies under the live book and under a draft
# Not used for any of these: "d" and "p", which RocksStore keeps for identities and positions.

ID_BYTES = 16
FINGERPRINT_BYTES = 8


class Effects(NamedTuple):
    """What one commit changes: all of it goes into one transaction, then into the store, or nothing does.

    line_items may be made on the way: read it to its end once, then `puts` and `unpriced` are complete. So a commit of a
    hundred thousand line items needs the memory of a few hundred.
    """

    line_items: Iterable[tuple[bytes, bytes]]  # x_LineItemId -> JSON
    puts: Sequence[tuple[bytes, bytes | None]]  # store key -> value, for the compacted changelog; None: the key goes
    ids: Mapping[bytes, bytes]  # identity hash -> fingerprint
    bucket: int  # arrival bucket of the ids
    unpriced: list[int]  # numbers of line items in this commit for which no price exists, to be added up


class Store(Protocol):
    """State of one partition as of its last commit."""

    def seen(self, hashes: Sequence[bytes]) -> list[bytes | None]:
        """Fingerprints of identity hashes that were counted before, None where none was."""
        ...

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """All entries whose key starts with `prefix`, in order; keys without the prefix."""
        ...

    def prefixes(self, after: bytes) -> Iterator[bytes]:
        """Keys of all entries behind `after`, in order."""
        ...

    def get(self, key: bytes) -> bytes | None:
        """One value."""
        ...

    def between(self, low: bytes, past: bytes) -> list[tuple[bytes, bytes]]:
        """Keys and values with low <= key < past, in order; whole keys."""
        ...

    def below(self, low: bytes, past: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values with low <= key < past, the last one first; read only as far as it is asked for."""
        ...

    def apply(self, effects: Effects) -> None:
        """Take over a commit. Idempotent: applying the same effects again changes nothing."""
        ...

    def forget(self, oldest_bucket: int) -> None:
        """Drop the identities that arrived before a bucket."""
        ...


@runtime_checkable
class Layered(Protocol):
    """A store that the compiled loops can look identities up in."""

    def newest(self) -> tuple[list[Any], bool]:
        """(hot.Identities and hot.Run, in the order in which to look; whether other identities may be in the store)."""
        ...


def new_ids() -> Any:
    """An empty table of identity hashes and fingerprints: what a dict does."""
    return {} if hot is None else hot.Identities()


def pack_ids(ids: Mapping[bytes, bytes]) -> bytes:
    """Identity hashes and fingerprints as one text of 24 bytes each."""
    if hot is not None and isinstance(ids, hot.Identities):
        return bytes(ids.packed())
    return b"".join([part for pair in ids.items() for part in pair])


def unpack_ids(packed: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Inverse of `pack_ids`. Raises Damaged: half an identity would let an event count twice."""
    step = ID_BYTES + FINGERPRINT_BYTES
    if len(packed) % step:
        raise Damaged("a record of identities", f"{len(packed)} bytes are no multiple of {step}")
    for at in range(0, len(packed), step):
        yield packed[at : at + ID_BYTES], packed[at + ID_BYTES : at + step]


def ids_of(packed: bytes) -> Mapping[bytes, bytes]:
    """As `unpack_ids`, as `Effects` take them. Raises Damaged."""
    if hot is None or len(packed) % (ID_BYTES + FINGERPRINT_BYTES):
        return dict(unpack_ids(packed))
    ids: Mapping[bytes, bytes] = hot.Identities(packed)
    return ids


class MemoryStore:
    """A store without a disk: for `ratemill rate`, for tests, for the simulation."""

    def __init__(self) -> None:
        self._ids: dict[int, dict[bytes, bytes]] = {}
        self._values: SortedDict[bytes, bytes] = SortedDict()

    def seen(self, hashes: Sequence[bytes]) -> list[bytes | None]:
        buckets = [self._ids[number] for number in sorted(self._ids, reverse=True)]  # the newest has the last word
        if not buckets:
            return [None] * len(hashes)
        if len(buckets) == 1:
            return list(map(buckets[0].get, hashes))
        return [next((bucket[h] for bucket in buckets if h in bucket), None) for h in hashes]

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        cut = len(prefix)
        return [(key[cut:], self._values[key]) for key in self._values.irange(prefix, prefix + b"\xff" * 9)]

    def prefixes(self, after: bytes) -> Iterator[bytes]:
        yield from list(self._values.irange(max(after, ENTRY), ENTRY + b"\xff" * 9, inclusive=(False, True)))

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._values.get(key)
        return value

    def between(self, low: bytes, past: bytes) -> list[tuple[bytes, bytes]]:
        return [(key, self._values[key]) for key in self._values.irange(low, past, inclusive=(True, False))]

    def below(self, low: bytes, past: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in self._values.irange(low, past, inclusive=(True, False), reverse=True):
            yield key, self._values[key]

    def apply(self, effects: Effects) -> None:
        for key, value in effects.puts:
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        if effects.ids:
            self._ids.setdefault(effects.bucket, {}).update(effects.ids.items())

    def forget(self, oldest_bucket: int) -> None:
        for bucket in [b for b in self._ids if b < oldest_bucket]:
            del self._ids[bucket]
