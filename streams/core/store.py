"""What the stateful step asks of its storage, and the store that lives in memory.

Keys are bytes. An entry's key is its group's prefix followed by its entry key, so the windows of one (account, sku, unit,
month) are a prefix scan in chronological order. Only committed data is ever in a store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from sortedcontainers import SortedDict

__all__ = ["ENTRY", "META", "Effects", "MemoryStore", "Store", "pack_ids", "unpack_ids"]

ENTRY = b"e"  # usage of one window: group prefix + entry key -> quantity NUL provider
META = b"m"  # one per partition: how far a re-rating has come, which price book holds

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

    def apply(self, effects: Effects) -> None:
        """Take over a commit. Idempotent: applying the same effects again changes nothing."""
        ...

    def forget(self, oldest_bucket: int) -> None:
        """Drop the identities that arrived before a bucket."""
        ...


def pack_ids(ids: Mapping[bytes, bytes]) -> bytes:
    """Identity hashes and fingerprints as one text of 24 bytes each."""
    return b"".join([part for pair in ids.items() for part in pair])


def unpack_ids(packed: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Inverse of `pack_ids`."""
    step = ID_BYTES + FINGERPRINT_BYTES
    for at in range(0, len(packed), step):
        yield packed[at : at + ID_BYTES], packed[at + ID_BYTES : at + step]


class MemoryStore:
    """A store without a disk: for `ratemill rate`, for tests, for the simulation."""

    def __init__(self) -> None:
        self._ids: dict[int, dict[bytes, bytes]] = {}
        self._values: SortedDict[bytes, bytes] = SortedDict()

    def seen(self, hashes: Sequence[bytes]) -> list[bytes | None]:
        buckets = list(self._ids.values())
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

    def apply(self, effects: Effects) -> None:
        for key, value in effects.puts:
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        if effects.ids:
            self._ids.setdefault(effects.bucket, {}).update(effects.ids)

    def forget(self, oldest_bucket: int) -> None:
        for bucket in [b for b in self._ids if b < oldest_bucket]:
            del self._ids[bucket]
