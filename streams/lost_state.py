"""Local state of partitions that went to other workers: kept for a while, because they may come back, and then deleted.

Without this, rebalances would bring the state of more and more partitions to every disk. Time counts only while the worker has an assignment: an
outage of Kafka, in which it has none, takes nothing away.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

__all__ = ["LostState"]

_LANE = "rate-"
_GONE = ".gone"


class LostState:
    """The folders under one data folder, named for the lanes that keep their state there. Times are seconds of a steady clock."""

    def __init__(self, folder: Path, keep_s: float) -> None:
        self._folder = folder
        self._keep_s = keep_s
        self._lost: dict[str, float] = {}  # lane -> when an assignment first left it out

    def assigned(self, lanes: Collection[str], now: float) -> None:
        """Note an assignment. What others had of these partitions before this process began is lost from now on, too."""
        here = {path.name for path in self._folder.iterdir() if path.name.startswith(_LANE)} if self._folder.is_dir() else set()
        self._lost = {name: self._lost.get(name, now) for name in here if name not in lanes}

    def due(self, now: float) -> list[str]:
        """Lanes whose state was kept long enough."""
        return sorted(name for name, since in self._lost.items() if now - since >= self._keep_s)

    def drop(self, lane: str) -> None:
        """Take the folder of a lane away; its disk comes back with `delete`. Nobody may have it open. Raises OSError."""
        self._lost.pop(lane, None)
        if not lane.endswith(_GONE):  # else it was left by a process that ended while it deleted
            (self._folder / lane).rename(self._gone(lane))

    def delete(self, lane: str) -> None:
        """Delete what was dropped. Takes seconds for gigabytes, and is harmless beside anything else."""
        shutil.rmtree(self._gone(lane), ignore_errors=True)

    def _gone(self, lane: str) -> Path:
        return self._folder / (lane.removesuffix(_GONE) + _GONE)
