"""Named places where a test can make the process die, stall or lie. In production the table is empty."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

__all__ = ["POINTS", "hit", "install"]

# Places of the commit protocol, in their order (see ledger.py).
POINTS = (
    "after_fence",
    "after_restore",
    "before_begin",
    "after_line_items",
    "after_changelog",
    "before_offsets",
    "before_commit",
    "after_commit",
    "after_swap",
)

_installed: dict[str, Callable[[str], Awaitable[None]]] = {}


def install(point: str, action: Callable[[str], Awaitable[None]]) -> None:
    """Let `action(where)` run each time a point is passed; `where` names the lane, such as "rate-0"."""
    if point not in POINTS:
        raise ValueError(f"no failpoint {point!r}; there are {', '.join(POINTS)}")
    _installed[point] = action


async def hit(point: str, where: str) -> None:
    """Pass a named place."""
    if _installed and (action := _installed.get(point)) is not None:
        await action(where)
