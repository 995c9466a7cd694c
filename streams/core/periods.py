"""Bounds of windows and periods as texts: cached, because few differ."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["text"]


@lru_cache(maxsize=65_536)
def text(seconds: int) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ` of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
