"""What an account's month costs under the live price book and under a draft: the records of the topic `ratemill.shadow`.

One record per account and month, replaced whenever it changes, and one status per partition. The topic is compacted: the last
value of a key counts, and a key without a value has ended. Amounts are exact decimal strings.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "STATUS_KEY", "AdjustmentVariance", "ShadowStatus", "SkuVariance", "Variance", "decode_status", "decode_variance", "encode_status",
    "encode_variance", "variance_key",
]  # fmt: skip

# No account has this name: decoders refuse control characters. There is one status in each partition of the topic.
STATUS_KEY = b"\0status"


class SkuVariance(msgspec.Struct, frozen=True):
    """Usage of one SKU in one unit. unpriced_…: windows for which the book has no price; they cost 0."""

    sku: str
    unit: str
    live: str
    draft: str
    unpriced_live: int = 0
    unpriced_draft: int = 0


class AdjustmentVariance(msgspec.Struct, frozen=True):
    """Charges of the account that one adjustment made, shown as one SKU."""

    adjustment: str
    sku: str
    live: str
    draft: str


class Variance(msgspec.Struct, frozen=True):
    """An account's month. Usage counts in the month in which it happened, also where a closed month bills it later."""

    account: str
    period: str  # YYYY-MM
    closed: bool  # charges that are due when the month ends are in
    live_book: str  # digests
    draft_book: str
    since_ns: int  # when the draft began to run beside the live book
    live_currency: str
    draft_currency: str
    skus: list[SkuVariance]
    adjustments: list[AdjustmentVariance]
    live: str  # sum of all of them
    draft: str


class ShadowStatus(msgspec.Struct, frozen=True):
    """How far one partition has come. draft_book: "" when no draft runs there."""

    live_book: str
    draft_book: str
    since_ns: int
    complete: bool  # all stored usage is in; until then records are missing, never wrong
    groups: int  # of usage, gone through so far
    untold: bool = False  # usage of the last seconds is not in the records yet


_encode = msgspec.json.Encoder().encode
_decode_variance = msgspec.json.Decoder(Variance).decode
_decode_status = msgspec.json.Decoder(ShadowStatus).decode


def variance_key(account: str, period: str) -> bytes:
    """Key of an account's month."""
    return f"{account}\0{period}".encode()


def encode_variance(variance: Variance) -> bytes:
    """Wire form."""
    return _encode(variance)


def decode_variance(value: bytes) -> Variance:
    """Inverse of `encode_variance`. Raises msgspec.MsgspecError."""
    return _decode_variance(value)


def encode_status(status: ShadowStatus) -> bytes:
    """Wire form."""
    return _encode(status)


def decode_status(value: bytes) -> ShadowStatus:
    """Inverse of `encode_status`. Raises msgspec.MsgspecError."""
    return _decode_status(value)
