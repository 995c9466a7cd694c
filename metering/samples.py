"""Samples: what is kept of the events of meters that cannot simply be added up, and in which order.

A series is the samples of one meter with equal account, unit, region, resource and dimensions. Samples of a series are ordered by
(time, source, id), so that the order of arrival decides nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple, Protocol

from ..pricing.money import money
from ..schemas.errors import Damaged

__all__ = ["Sample", "SampleList", "Samples", "decode_sample", "encode_sample", "time_key"]

_EARLIEST = 2**63  # added to a time, it makes times before 1970 sort before later ones


class Sample(NamedTuple):
    """One reading of a series. time_ns: nanoseconds since 1970. quantity and text: those of its `Reading`."""

    time_ns: int
    source: str
    id: str
    quantity: Decimal
    text: str
    provider: str


class Samples(Protocol):
    """The samples of one series, ordered by (time, source, id)."""

    def between(self, low_ns: int, high_ns: int) -> list[Sample]:
        """Those with low <= time < high."""

    def before(self, time_ns: int) -> Sample | None:
        """The last with an earlier time."""

    def after(self, time_ns: int) -> Sample | None:
        """The first with that time or a later one."""


class SampleList:
    """Samples in memory."""

    __slots__ = ("_samples",)

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._samples = sorted(samples, key=_place)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, sample: Sample) -> None:
        """Add one; it must not be there yet."""
        insort(self._samples, sample, key=_place)

    def remove(self, sample: Sample) -> None:
        """Take one away. Raises ValueError if it is not there."""
        del self._samples[self._samples.index(sample)]

    def between(self, low_ns: int, high_ns: int) -> list[Sample]:
        return self._samples[self._index(low_ns) : self._index(high_ns)]

    def before(self, time_ns: int) -> Sample | None:
        index = self._index(time_ns)
        return self._samples[index - 1] if index else None

    def after(self, time_ns: int) -> Sample | None:
        index = self._index(time_ns)
        return self._samples[index] if index < len(self._samples) else None

    def _index(self, time_ns: int) -> int:
        return bisect_left(self._samples, time_ns, key=_time)


def _place(sample: Sample) -> tuple[int, str, str]:
    return sample.time_ns, sample.source, sample.id


def _time(sample: Sample) -> int:
    return sample.time_ns


def time_key(time_ns: int) -> bytes:
    """The least key that a sample of a time can have: a bound of scans."""
    return (time_ns + _EARLIEST).to_bytes(8, "big")


def encode_sample(sample: Sample) -> tuple[bytes, bytes]:
    """(key, value) in a store; the key comes after a prefix that names the series. Keys sort as samples do; a value is never empty."""
    key = time_key(sample.time_ns) + f"{sample.source}\0{sample.id}".encode()
    return key, f"{sample.quantity}\0{sample.text}\0{sample.provider}".encode()


def decode_sample(key: bytes, value: bytes) -> Sample:
    """Inverse of `encode_sample`. Raises Damaged."""
    try:
        source, _, event_id = key[8:].decode().partition("\0")
        quantity, _, rest = value.decode().partition("\0")
        text, _, provider = rest.rpartition("\0")  # only the text can be anything
        return Sample(int.from_bytes(key[:8], "big") - _EARLIEST, source, event_id, money(quantity), text, provider)
    except ValueError as error:
        raise Damaged("a sample of a meter in the state", error) from error
