"""What stores say of a file, and that it is not the one any more."""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple, Protocol

from ...schemas.errors import RatemillError, Unavailable

__all__ = ["Body", "Changed", "Readable", "Stored"]


class Readable(Protocol):
    """Content of a file, to be read once, from its beginning."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes; none at the end."""

    def close(self) -> None:
        """Let it go."""

    def __enter__(self) -> Readable: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None: ...


class Stored(NamedTuple):
    """A file: its name within the store, and its ETag, which changes with its content."""

    name: str
    etag: str


class Changed(RatemillError):
    """A file is not the one any more that was listed: the report is being published anew."""

    retriable = True


class Body:
    """The content of a file as it comes over a network: all of it, or an error. length: how many bytes there must be; None: they come
    in chunks, of which the last one is marked.

    A connection that breaks can look like the end of the file, and a report that ends too early would take usage back.
    """

    def __init__(self, source: Any, length: int | None, where: str, broken: tuple[type[BaseException], ...]) -> None:
        self._source, self._left, self._where, self._broken = source, length, where, broken

    def read(self, size: int = -1) -> bytes:
        """As of a file. Raises Unavailable."""
        try:
            found: bytes = self._source.read(size if size >= 0 else None)
        except self._broken as error:
            raise Unavailable(f"{self._where}: the connection broke: {' '.join(str(error).split())}") from None
        if self._left is None:
            return found
        self._left -= len(found)
        if self._left < 0 or (self._left and (size < 0 or (size > 0 and not found))):
            raise Unavailable(f"{self._where}: the connection broke: the file has another length than was said")
        return found

    def close(self) -> None:
        """Let the connection go."""
        self._source.close()

    def __enter__(self) -> Body:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
