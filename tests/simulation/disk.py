"""The disk of a worker: RocksDB without a write-ahead log, as far as a crash can tell (streams/rocks.py).

What was written since the last flush of the memtable is gone when the process dies; when that flush was, the seed says. Batches are
never torn, since each is in one memtable. A folder is open once at a time, and a whole disk may be lost.
"""

from __future__ import annotations

from pathlib import Path

from ratemill.streams.core.store import Effects, MemoryStore

from .world import World

__all__ = ["Disks", "SimulatedStore"]

Change = tuple[Effects | None, dict[str, int], int]  # effects, positions, oldest bucket (where effects are None)


class Folder:
    """One database on a disk."""

    def __init__(self) -> None:
        self.written: list[Change] = []
        self.flushed = 0
        self.open = False


class Disks:
    """All folders of all workers."""

    def __init__(self) -> None:
        self._folders: dict[str, Folder] = {}

    def folder(self, path: str) -> Folder:
        return self._folders.setdefault(path, Folder())

    def crash(self, root: str) -> int:
        """The process that used the folders under `root` has died; returns how many writes were lost."""
        lost = 0
        for path, folder in self._folders.items():
            if path.startswith(root):
                lost += len(folder.written) - folder.flushed
                del folder.written[folder.flushed :]
                folder.open = False
        return lost

    def lose(self, root: str) -> None:
        """The disk is gone."""
        for path in [path for path in self._folders if path.startswith(root)]:
            del self._folders[path]


class SimulatedStore(MemoryStore):
    """A `RocksStore`."""

    replaced = 0

    def __init__(self, path: Path) -> None:
        super().__init__()
        world = World.current()
        self._draw, self._flushes = world.scheduler.draw, world.plan.flushes
        self._folder = folder = world.disks.folder(str(path))
        if folder.open:
            raise RuntimeError(f"IO error: lock hold by current process: {path}/LOCK")
        folder.open = True
        self._positions: dict[str, int] = {}
        for change in folder.written:
            self._take(change)

    def _take(self, change: Change) -> None:
        effects, positions, bucket = change
        if effects is None:
            MemoryStore.forget(self, bucket)
        else:
            MemoryStore.apply(self, effects)
            self._positions.update(positions)

    def _write(self, change: Change) -> None:
        self._take(change)
        self._folder.written.append(change)
        if self._draw() < self._flushes:
            self._folder.flushed = len(self._folder.written)

    def apply(self, effects: Effects) -> None:
        self._write((effects, {}, 0))

    def write(self, effects: Effects, positions: dict[str, int]) -> None:
        self._write((Effects((), list(effects.puts), dict(effects.ids), effects.bucket, []), dict(positions), 0))

    def position(self, topic: str) -> int:
        return self._positions.get(topic, 0)

    def forget(self, oldest_bucket: int) -> None:
        if any(bucket < oldest_bucket for bucket in self._ids):
            self._write((None, {}, oldest_bucket))

    def close(self) -> None:
        self._folder.flushed = len(self._folder.written)
        self._folder.open = False
