"""A clock that a test sets."""

from __future__ import annotations


class Clock:
    """Seconds that pass when a test says so. now: seconds since 1970, UTC."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now
