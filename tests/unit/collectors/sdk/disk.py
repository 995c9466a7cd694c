"""A disk that loses what was not synced: what a process did to a folder, and what a power cut at any moment could leave of it."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Operation", "compiled", "laid_out", "run", "states"]

SOURCE = Path(__file__).with_name("disk.c")
SECTOR = 512
_HEAD = struct.Struct("<cHQI")


@dataclass(frozen=True)
class Operation:
    """One entry of the log; see disk.c."""

    kind: str
    name: str
    offset: int
    data: bytes


def compiled(folder: Path) -> Path:
    """The library for LD_PRELOAD."""
    library = folder / "disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True, timeout=60)
    return library


def run(library: Path, program: str, folder: Path, *arguments: str) -> list[Operation]:
    """Run a Python program whose files in a folder are watched; what it did."""
    folder.mkdir()
    log = folder.with_suffix(".log")
    environment = os.environ | {"LD_PRELOAD": str(library), "DISK_FOLDER": str(folder), "DISK_LOG": str(log)}
    said = subprocess.run([sys.executable, "-c", program, str(folder), *arguments], env=environment, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    return list(_operations(log.read_bytes()))


def _operations(log: bytes) -> Iterator[Operation]:
    """The entries of a log."""
    at = 0
    while at < len(log):
        kind, length, offset, size = _HEAD.unpack_from(log, at)
        at += _HEAD.size
        yield Operation(kind.decode(), log[at : at + length].decode(), offset, log[at + length : at + length + size])
        at += length + size


@dataclass
class _File:
    """One file, whatever it is called: what is on the disk for sure, and what was done since."""

    synced: bytearray = field(default_factory=bytearray)
    since: list[Operation] = field(default_factory=list)

    def sync(self) -> None:
        for operation in self.since:
            _apply(self.synced, operation)
        self.since.clear()

    def left(self, rng: random.Random, share: float) -> bytes:
        """The content if each change since the last sync is there with this probability; the last one may be torn within."""
        found = bytearray(self.synced)
        for operation in self.since:
            if operation.kind == "w" and rng.random() < 0.2:
                sectors = [at for at in range(0, len(operation.data), SECTOR) if rng.random() < share]
                for at in sectors:
                    _apply(found, Operation("w", operation.name, operation.offset + at, operation.data[at : at + SECTOR]))
            elif rng.random() < share:
                _apply(found, operation)
        return bytes(found)


def _apply(content: bytearray, operation: Operation) -> None:
    if operation.kind == "t":
        del content[operation.offset :]
        content.extend(bytes(operation.offset - len(content)))
        return
    end = operation.offset + len(operation.data)
    content.extend(bytes(max(0, end - len(content))))
    content[operation.offset : end] = operation.data


def states(log: Sequence[Operation], rng: random.Random, shares: Sequence[float], marks: str) -> Iterator[tuple[list[bytes], dict[str, bytes]]]:
    """(marks written so far, the files) for a power cut behind each operation, once for each share of what was not synced that survives.

    marks: name of the file in which the program says how far it is; it is no part of the disk.
    """
    now: dict[str, _File] = {}
    names: dict[str, _File] = {}  # in the folder for sure
    renamed: list[tuple[str, _File | None]] = []  # changes of the folder since it was synced, in order
    said: list[bytes] = []
    for operation in log:
        if operation.name == marks:
            said.extend(operation.data.splitlines())
        elif operation.kind == "c":
            now[operation.name] = _File()
            renamed.append((operation.name, now[operation.name]))
        elif operation.kind == "u":
            del now[operation.name]
            renamed.append((operation.name, None))
        elif operation.kind == "d":
            _link(names, renamed)
            renamed.clear()
        elif operation.kind == "s":
            now[operation.name].sync()
        else:
            now[operation.name].since.append(operation)
        for share in shares:
            found = dict(names)
            _link(found, renamed[: round(len(renamed) * share)])
            yield said, {name: file.left(rng, share) for name, file in found.items()}


def _link(names: dict[str, _File], changes: Sequence[tuple[str, _File | None]]) -> None:
    for name, file in changes:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def laid_out(files: dict[str, bytes], folder: Path) -> None:
    """Make a folder that holds these files alone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
