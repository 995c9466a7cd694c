"""The jars of the embedded stack in the shared cache folder: fetched once, checked, and then used without any network.

    CACHE/maven/…            the jars, laid out like a Maven repository
    CACHE/jars-KEY.json      which of them belong to Kafka and to Elasticsearch (KEY: the pinned versions)
    CACHE/.lock              held while they are fetched, so that two first starts do not collide

CACHE is RATEMILL_CACHE_DIR, or `ratemill` under XDG_CACHE_HOME, or ~/.cache/ratemill. The list holds paths relative
to CACHE, so the folder can be copied to a machine that has no network.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..schemas.errors import Unavailable
from . import versions

__all__ = ["Jars", "Progress", "cache_dir", "ensure_jars", "exclusive", "write_atomically"]

Progress = Callable[[str], None]  # one line for a person; called on every step

LOCK_TIMEOUT = 600.0  # a first download on a slow line takes minutes, never this long


@dataclass(frozen=True)
class Jars:
    """Absolute paths of the jars, in class path order."""

    kafka: list[Path]
    elasticsearch: list[Path]
    netty: list[Path]  # Elasticsearch's transport module, with what it shares with the server


def cache_dir() -> Path:
    """The folder that all stacks of this user share."""
    if own := os.environ.get("RATEMILL_CACHE_DIR"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").expanduser().absolute() / "ratemill"


def ensure_jars(progress: Progress) -> Jars:
    """The jars of the pinned versions; downloads them only when the cache does not hold them."""
    cache = cache_dir()
    if jars := _load(cache):
        return jars
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot create the cache folder {cache}: {error.strerror}; set RATEMILL_CACHE_DIR to another one") from error
    with exclusive(cache / ".lock", lambda: progress("waiting for another first start to finish its download")):
        if jars := _load(cache):  # the one that was waited for has fetched them
            return jars
        from .resolve import fetch  # only a first start needs the resolver, so only a first start imports it

        found = fetch(cache / "maven", progress)
        listed = {part: [{"path": str(p.relative_to(cache)), "size": p.stat().st_size} for p in paths] for part, paths in found.items()}
        write_atomically(cache / _list_name(), json.dumps(listed, indent=1))
    jars = _load(cache)
    if jars is None:
        raise Unavailable(f"the jars in {cache} vanished right after their download; start again")
    return jars


def _list_name() -> str:
    wanted = "\n".join((*versions.KAFKA_ARTIFACTS, versions.ELASTICSEARCH_ARTIFACT, versions.NETTY_ARTIFACT))
    return f"jars-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}.json"


def _load(cache: Path) -> Jars | None:
    """The cached jars, or None when the list is absent or damaged, or a jar is not there in full.

    Checksums were compared when the jars were fetched; sizes are enough to see a removed or truncated file, and cost nothing.
    """
    try:
        listed = json.loads((cache / _list_name()).read_text())
        paths = {part: [cache / jar["path"] for jar in listed[part]] for part in ("kafka", "elasticsearch", "netty")}
        complete = all((cache / jar["path"]).stat().st_size == jar["size"] for jars in listed.values() for jar in jars)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Jars(**paths) if complete else None


@contextlib.contextmanager
def exclusive(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file; calls `waiting` once if someone else has it. The kernel frees it when a holder dies."""
    with path.open("a") as file:
        deadline = time.monotonic() + LOCK_TIMEOUT
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unavailable(f"{path} has been locked by another process for {LOCK_TIMEOUT:.0f} s; end that process first") from None
                if not told:
                    told = True
                    waiting()
                time.sleep(0.2)
        yield


def write_atomically(path: Path, text: str) -> None:
    """Replace a file in one step, so that no reader ever sees half of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text)
    partial.replace(path)
