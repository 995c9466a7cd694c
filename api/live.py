"""Documents that clients watch. One that several watch is read once for all of them, and only the newest is kept for whoever is slow."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import ClassVar, NamedTuple

from .problems import Problem

__all__ = ["Live", "Version", "Watched"]


class Version(NamedTuple):
    """A document, and a digest of it that is another one whenever the document is."""

    id: str
    data: bytes


class Live:
    """What is being watched in this process. A stop ends every watch.

    pause_s: between two reads of a document, or as long as a read took, if that is more. readers: reads at the same time.
    """

    pause_s: ClassVar[float] = 0.5
    readers: ClassVar[int] = 4
    most: ClassVar[int] = 400
    most_of_one: ClassVar[int] = 50

    def __init__(self) -> None:
        self._watched: dict[Hashable, Watched] = {}
        self._owners: Counter[str] = Counter()
        self._gate = asyncio.Semaphore(self.readers)
        self._stopped = False

    @asynccontextmanager
    async def watch(self, question: Hashable, owner: str, read: Callable[[], Awaitable[bytes]]) -> AsyncIterator[Watched]:
        """Watch what `read` gives, together with all who watch the same question. Raises Problem 429 for one too many, of all or of one owner."""
        if self._owners.total() >= self.most or self._owners[owner] >= self.most_of_one:
            detail = f"{self.most:,} streams are open, or {self.most_of_one} of this key; close one, or ask now and then without a stream"
            raise Problem(429, "too-many-streams", detail, headers={"retry-after": "15"})
        watched = self._watched.get(question)
        if watched is None or watched.ended:
            watched = self._watched[question] = Watched(read, self._gate)
        self._owners[owner] += 1
        watched.watchers += 1
        try:
            if self._stopped:
                watched.end()
            yield watched
        finally:
            self._owners -= Counter({owner: 1})  # and forgets who has none left
            watched.watchers -= 1
            if not watched.watchers:
                watched.end()
            if watched.ended and self._watched.get(question) is watched:
                del self._watched[question]

    def stop(self) -> None:
        """End all watches, and those that begin later."""
        self._stopped = True
        for watched in self._watched.values():
            watched.end()


class Watched:
    """A document that is read again and again, until it is ended or a read fails."""

    def __init__(self, read: Callable[[], Awaitable[bytes]], gate: asyncio.Semaphore) -> None:
        self.watchers = 0
        self.ended = False
        self._read, self._gate = read, gate
        self._newest = Version("", b"")
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def newer(self, than: str) -> Version | None:
        """The newest version, once it is another one than the one of this id; None once the watch has ended. Raises what a read raised."""
        while True:
            if self._newest.id not in ("", than):
                return self._newest
            if self._error is not None:
                raise self._error
            if self.ended:
                return None
            await self._changed.wait()

    def end(self) -> None:
        """Read no more."""
        self.ended = True
        self._task.cancel()
        self._changed.set()

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while True:
                async with self._gate:
                    began = clock()
                    data = await self._read()
                    took = clock() - began
                if (id := hashlib.sha256(data).hexdigest()[:32]) != self._newest.id:
                    self._newest = Version(id, data)
                    self._changed.set()
                    self._changed = asyncio.Event()
                await asyncio.sleep(max(Live.pause_s, took))
        except Exception as error:  # for whoever watches
            self.ended, self._error = True, error
            self._changed.set()
