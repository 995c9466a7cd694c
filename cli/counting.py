"""Numbers of things, as one says them."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, what: str) -> str:
    """`1 record`, `1,200 records`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
