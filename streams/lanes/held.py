"""Records that wait because a request took effect before them once (see answers.py): kept in memory, within bounds."""

from __future__ import annotations

from .base import QUEUED_RECORDS, Batch, size_of

__all__ = ["Held"]

HELD_BYTES = 32 << 20


class Held:
    """Batches, or ends of batches, in the order in which they came. Beyond the records of a lane's queue, or 32 MB, nothing is kept."""

    def __init__(self) -> None:
        self.lost = False  # something was not kept: the log has to be read again from the last commit
        self._batches: list[Batch] = []
        self._records = 0
        self._bytes = 0

    def keep(self, batch: Batch) -> None:
        """Keep a batch, if it fits."""
        self._records += len(batch.records)
        self._bytes += size_of(batch)
        if self.lost or self._records > QUEUED_RECORDS or self._bytes > HELD_BYTES:
            self.lost = True
            self._batches = []
        else:
            self._batches.append(batch)

    def take(self) -> list[Batch]:
        """What is kept, in order; told once."""
        batches, self._batches = self._batches, []
        self._records = self._bytes = 0
        return batches
