"""Entries: the usage of one window in a group, how it is stored, and what a change makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ...pricing.money import money, plain
from ...schemas.errors import Damaged

__all__ = [
    "Change", "Delta", "Set", "Usage", "Window", "changed", "changes_since", "decode_usage", "deltas_of", "encode_usage",
    "one_provider", "quantities",
]  # fmt: skip

Window = tuple[int, str, str, str]  # number of the window, region, resource, dimensions
Usage = tuple[Decimal, str]  # quantity, provider
Delta = tuple[bytes, Decimal, str]  # entry key, quantity to add, provider
Set = tuple[bytes, Decimal | None, str]  # entry key, quantity it has now (None: there is no such entry any more), provider
Change = tuple[bytes, Decimal | None, Decimal | None]  # entry key, quantity before and after; None: there is no such entry


def encode_usage(usage: Usage) -> bytes:
    """Stored form of an entry: exact quantity, and where the usage was read."""
    return f"{plain(usage[0])}\0{usage[1]}".encode()


def decode_usage(value: bytes) -> Usage:
    """Inverse of `encode_usage`; the value of an absent entry is b"" and must not come here. Raises Damaged."""
    try:
        quantity, provider = value.decode().split("\0")
        if "E" in quantity or "e" in quantity:
            raise ValueError(f"{quantity[:40]!r} has an exponent, which is never written")
        return money(quantity), provider
    except ValueError as error:
        raise Damaged("the usage of a window in the state", error) from error


def one_provider(first: str, second: str) -> str:
    """The provider named on a line item whose events name several: the first in the alphabet, whatever the order of arrival."""
    return min(first, second) if first and second else first or second


def changed(
    entries: Mapping[bytes, Usage], deltas: Sequence[Delta], sets: Sequence[Set]
) -> tuple[dict[bytes, Usage], list[tuple[bytes, bytes]]]:
    """Entries after a change, in order; and what to store of them, by entry key (b"": the entry is no more)."""
    now = dict(entries)
    puts: dict[bytes, bytes] = {}
    for key, quantity, provider in deltas:
        old = now.get(key)
        now[key] = (quantity, provider) if old is None else (old[0] + quantity, one_provider(old[1], provider))
        puts[key] = encode_usage(now[key])
    for key, value, provider in sets:
        if value is None:
            if now.pop(key, None) is not None:
                puts[key] = b""
        elif now.get(key) != (value, provider):
            now[key] = value, provider
            puts[key] = encode_usage(now[key])
    return dict(sorted(now.items())), list(puts.items())


def quantities(entries: Mapping[bytes, Usage], deltas: Sequence[Delta], sets: Sequence[Set]) -> dict[bytes, Decimal | None]:
    """What the entries hold that a change is about to touch; None where there is none."""
    found: dict[bytes, Decimal | None] = {}
    for key, _, _ in (*deltas, *sets):
        known = entries.get(key)
        found[key] = None if known is None else known[0]
    return found


def changes_since(before: Mapping[bytes, Decimal | None], entries: Mapping[bytes, Usage]) -> list[Change]:
    """The change, once it is made. before: `quantities` as they were."""
    found: list[Change] = []
    for key, old in before.items():
        now = entries.get(key)
        found.append((key, old, None if now is None else now[0]))
    return found


def deltas_of(
    windows: dict[Window, list[Any]], keys: dict[Window, bytes], months: dict[int, int],
    key_of: Callable[[Window], bytes], month_of: Callable[[int], int],
) -> dict[int, list[Delta]]:  # fmt: skip
    """What was counted in windows ([quantity, provider] each), by month.

    keys, months: what key_of (window -> entry key) and month_of (number of a window -> month) have said before; both are added to.
    """
    by_month: dict[int, list[Delta]] = {}
    for window, (quantity, provider) in windows.items():
        key = keys.get(window)
        if key is None:
            key = keys[window] = key_of(window)
        month = months.get(window[0])
        if month is None:
            month = months[window[0]] = month_of(window[0])
        by_month.setdefault(month, []).append((key, quantity, provider))
    return by_month
