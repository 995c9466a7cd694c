"""Usage files as raw records, streamed: newline-delimited JSON, one JSON document or array, CSV; plain or .gz; `-` is stdin.

A record keeps the bytes of the file wherever it can. Rows of formats without an id of their own get `_file`, `_row` and
`_occurrence` (schemas/decoders/rows.py), or two rows that look alike would count as one.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from ..schemas.arrays import split_array
from ..schemas.errors import UNREADABLE, BadInput
from .tables import annotated_objects, rows_of_csv

__all__ = ["MAX_PIECE_BYTES", "TABULAR", "Piece", "read_pieces", "size_of"]

# A record beyond this fits no raw topic (streams/topics.py: 17 MiB with the batch around it). What is longer is skipped, not held.
MAX_PIECE_BYTES = (17 << 20) - 4_096
MAX_ARRAY_BYTES = 256 << 20  # an array is held whole while its elements are told apart, also one that was packed small
TABULAR = ("aws-cur", "azure-cost", "gcp-billing")  # formats that come as rows with column names
_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 20


class Piece(NamedTuple):
    """What one raw record would hold. line: where it starts in its file, from 1; flaw: why it holds no record of its format."""

    file: str
    line: int
    value: bytes
    flaw: str = ""
    size: int = 0  # bytes, where `value` was cut because it is too large for any topic


def size_of(path: str) -> int:
    """Bytes of the file as it is stored; 0 when unknown (stdin)."""
    try:
        return 0 if path == "-" else Path(path).stat().st_size
    except OSError:
        return 0


def read_pieces(path: str, format: str, progress: Callable[[int], None] = lambda _: None, name: str = "") -> Iterator[Piece]:
    """The records of a file in order. progress: told the position in the stored file now and then; name: what it is called, if it is a copy.

    Raises BadInput when the file cannot be read, or is no file of this format at all.
    """
    advice = "is it whole? it has to be delivered again" if name else "give the path of a file of usage events, or - for stdin"
    name = name or ("stdin" if path == "-" else path)
    try:
        with _opened(path) as stored:
            lines = _Lines(gzip.GzipFile(fileobj=stored) if path.endswith(".gz") else stored)
            told = 0
            for count, piece in enumerate(_pieces(lines, name, path, format)):
                if lines.position - told > _BLOCK:
                    told = lines.position
                    progress(stored.tell() if path != "-" else told)
                if count == 0:
                    progress(0)
                yield piece
            progress(size_of(path))
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInput(f"{name}: {reason.lower()}; {advice}") from error


def _opened(path: str) -> IO[bytes]:
    if path == "-":
        return sys.stdin.buffer
    return Path(path).open("rb")


def _pieces(lines: _Lines, name: str, path: str, format: str) -> Iterator[Piece]:
    start = lines.peek()
    suffixes = Path(path.removesuffix(".gz")).suffix.lower()
    if suffixes == ".csv" or (format in TABULAR and start[:1] not in b"{["):
        if format not in TABULAR:
            raise BadInput(f"{name}: CSV holds rows of a provider's export; name it by --format, one of {', '.join(TABULAR)}")
        for line, value, flaw in rows_of_csv(lines, name, format):
            yield Piece(name, line, value, flaw)
        return
    found = _json_pieces(lines, name, start)
    yield from annotated(found, name, format) if format in TABULAR else found


def annotated(pieces: Iterator[Piece], name: str, format: str) -> Iterator[Piece]:
    """JSON rows with their place and occurrence put in; what is no object passes as it is."""
    numbered = annotated_objects(((piece.line, piece.value, piece) for piece in pieces), format, Path(name).name)
    for value, piece in numbered:
        yield piece if value is piece.value else piece._replace(value=value)


def _json_pieces(lines: _Lines, name: str, start: bytes) -> Iterator[Piece]:
    if start[:1] in (b"[", b"{") and not _complete(lines.first_line()):
        # Not a record per line: one document over several lines, or one array.
        held, whole = lines.all_of(MAX_ARRAY_BYTES if start[:1] == b"[" else MAX_PIECE_BYTES)
        if start[:1] == b"[":
            _check_array(name, whole)
            for line, value, flaw in split_array(held):
                yield _checked(name, line, value, flaw)
            return
        if whole and _complete(held):
            yield _checked(name, 1 + held[: len(held) - len(held.lstrip())].count(b"\n"), held.strip())
            return
        lines.put_back(held)
    elif start[:1] == b"[" and lines.only_line():
        held, whole = lines.all_of(MAX_ARRAY_BYTES)
        _check_array(name, whole)
        for line, value, flaw in split_array(held):
            yield _checked(name, line, value, flaw)
        return
    for number, value, size in lines:
        if size:
            yield Piece(name, number, value, "", size)
        elif value.strip():
            yield Piece(name, number, value.strip(b" \t\r\n"))


def _check_array(name: str, whole: bool) -> None:
    if not whole:
        raise BadInput(f"{name}: the array has more than {MAX_ARRAY_BYTES >> 20} MiB; write an event per line instead (newline-delimited JSON)")


def _checked(name: str, line: int, value: bytes, flaw: str = "") -> Piece:
    return Piece(name, line, value[:1024], flaw, len(value)) if len(value) > MAX_PIECE_BYTES else Piece(name, line, value, flaw)


def _complete(document: bytes) -> bool:
    """Is this one whole JSON document?"""
    try:
        msgspec.json.decode(document, type=msgspec.Raw)
    except UNREADABLE:
        return False
    return True


class _Lines:
    """Lines of a file, none held that is longer than MAX_PIECE_BYTES, with a look ahead."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self._ahead = b""
        self.position = 0
        self._number = 0
        start = file.read(3)
        self._ahead = b"" if start == _BOM else start
        self._at = 0  # what was read out of it as lines

    def _readline(self, limit: int) -> bytes:
        """At most `limit` bytes up to and with the next line break."""
        if self._at >= len(self._ahead):
            return self._file.readline(limit)
        # What was looked at may be megabytes: lines are cut out of it, and it stays as it is.
        end = self._ahead.find(b"\n", self._at, self._at + limit) + 1 or self._at + limit
        found = self._ahead[self._at : end]
        self._at = end
        if end < len(self._ahead) or found[-1:] == b"\n" or len(found) == limit:
            return found
        self._ahead, self._at = b"", 0
        return found + self._file.readline(limit - len(found))

    def peek(self) -> bytes:
        """The first bytes that are no blanks."""
        self._ahead += self._file.read(_BLOCK)
        return self._ahead.lstrip()[:16]

    def first_line(self) -> bytes:
        """The first line that is not blank, looked at only; cut at MAX_PIECE_BYTES."""
        while True:
            rest = self._ahead.lstrip()
            if b"\n" in rest or len(self._ahead) > MAX_PIECE_BYTES:
                break
            more = self._file.read(_BLOCK)
            if not more:
                break
            self._ahead += more
        return rest.partition(b"\n")[0]

    def only_line(self) -> bool:
        """Is there nothing behind the first line?"""
        rest = self._ahead.lstrip()
        if b"\n" in rest and rest.partition(b"\n")[2].strip():
            return False
        blocks, size = [self._ahead], len(self._ahead)
        ended = b"\n" in rest
        while size <= MAX_ARRAY_BYTES and (more := self._file.read(_BLOCK)):
            blocks.append(more)
            size += len(more)
            _, found, after = (b"", True, more) if ended else more.partition(b"\n")
            ended = bool(found)
            if after.strip():
                break
        else:
            after = b""
        self._ahead = b"".join(blocks)
        return not after.strip()

    def all_of(self, limit: int) -> tuple[bytes, bool]:
        """The rest of the file, and whether that is all of it: at most `limit` bytes and one more."""
        held, self._ahead = self._ahead + self._file.read(max(0, limit - len(self._ahead)) + 1), b""
        return held, len(held) <= limit

    def put_back(self, held: bytes) -> None:
        """Undo `all_of`."""
        self._ahead = held

    def __iter__(self) -> Iterator[tuple[int, bytes, int]]:
        """(number, line, 0), or (number, its beginning, its bytes) for a line that is too long to hold."""
        while line := self._readline(MAX_PIECE_BYTES + 1):
            self._number += 1
            self.position += len(line)
            size = 0
            if len(line) > MAX_PIECE_BYTES and line[-1:] != b"\n":
                size = len(line)
                while more := self._readline(_BLOCK):
                    size += len(more)
                    if more[-1:] == b"\n":
                        size -= 1
                        break
                self.position += size
                line = line[:1024]
            yield self._number, line, size
