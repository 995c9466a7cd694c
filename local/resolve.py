"""A first start: resolve the Maven artifacts with jgo's resolver (pure Python, no `mvn`) and fetch their jars.

Every jar must have the SHA-256 that `artifacts.json` holds for it: neither a damaged download nor a changed
repository gets to run code. `python -m ratemill.local.resolve` writes that file anew after a version was changed.
Set RATEMILL_MAVEN_URL to fetch from a mirror.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from jgo.maven import Artifact, MavenContext, PythonResolver

from ..schemas.errors import RatemillError, Unavailable
from . import versions
from .artifacts import Progress

__all__ = ["fetch", "fetch_parts", "write_checksums"]

CHECKSUMS = Path(__file__).with_name("artifacts.json")
PARTS = {"kafka": versions.KAFKA_ARTIFACTS, "elasticsearch": (versions.ELASTICSEARCH_ARTIFACT,), "netty": (versions.NETTY_ARTIFACT,)}
TRIES = 3
TIMEOUT = 30.0
PARALLEL = 8  # most jars are small: one connection at a time spends its time on round trips


class CheckedResolver(PythonResolver):
    """jgo's resolver with downloads that are retried and appear in the cache only when they are whole.

    jgo writes to the final name as it reads, so an interrupted download would stay behind as a truncated file.
    """

    def __init__(self, url: str, progress: Progress) -> None:
        super().__init__()
        self.url = url.rstrip("/")
        self.progress = progress
        self.files = 0
        self.bytes = 0
        self._told = time.monotonic()
        self._local = threading.local()  # sessions are not thread-safe
        self._lock = threading.Lock()

    def download(self, artifact: Artifact) -> Path | None:
        """Fetch one file (a POM or a jar) to its place in the cache."""
        target = artifact.cached_path
        if target is None:
            raise Unavailable(f"no place in the cache for {artifact}")
        url = f"{self.url}/{artifact.component.path_prefix.as_posix()}/{artifact.filename}"
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}.partial")
        for attempt in range(1, TRIES + 1):
            try:
                partial.write_bytes(self._get(url))
                break
            except requests.RequestException as error:
                status = error.response.status_code if error.response is not None else None
                if attempt == TRIES or status in (401, 403, 404):
                    why = f"HTTP {status}" if status else type(error).__name__
                    raise Unavailable(
                        f"cannot download {artifact.filename} from {self.url}: {why}; the first start needs the network "
                        "(RATEMILL_MAVEN_URL names a mirror, RATEMILL_CACHE_DIR a cache that was filled elsewhere)"
                    ) from error
                time.sleep(attempt)
        partial.replace(target)
        return target

    def _get(self, url: str) -> bytes:
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        response = session.get(url, timeout=TIMEOUT)
        response.raise_for_status()
        content: bytes = response.content
        with self._lock:
            self.files += 1
            self.bytes += len(content)
            if time.monotonic() > self._told + 1.0:  # often enough to see it move, seldom enough for a log
                self._told = time.monotonic()
                self.progress(f"first start: downloading jars, {self.files} files, {self.bytes / 1e6:.0f} MB")
        return content


def fetch(repository: Path, progress: Progress) -> dict[str, list[Path]]:
    """Resolve and download the embedded stack into `repository`; paths by part: kafka, elasticsearch, netty."""
    progress(f"first start: downloading Kafka {versions.KAFKA} and Elasticsearch {versions.ELASTICSEARCH} (about 90 MB, once)")
    return fetch_parts(repository, PARTS, json.loads(CHECKSUMS.read_text()), progress)


def fetch_parts(repository: Path, parts: Mapping[str, Sequence[str]], expected: Mapping[str, str], progress: Progress) -> dict[str, list[Path]]:
    """Resolve coordinates, and all that they need to run, into `repository`; the jars of each part in class path order.

    `expected` has the SHA-256 of each jar by its path in the repository; empty: nothing is compared, for writing such a file.
    Raises Unavailable when something cannot be had, or is not what was expected.
    """
    logging.getLogger("jgo").addHandler(logging.NullHandler())  # its warnings about foreign POMs are not ours to show
    url = os.environ.get("RATEMILL_MAVEN_URL") or versions.MAVEN_CENTRAL
    try:
        resolver = CheckedResolver(url, progress)
        context = MavenContext(resolver=resolver, repo_cache=repository, remote_repos={"central": url})
        wanted = {part: [a for c in coordinates for a in _closure(context, c)] for part, coordinates in parts.items()}
        with ThreadPoolExecutor(PARALLEL) as pool:
            unique = {str(a): a for artifacts in wanted.values() for a in artifacts}
            fetched = pool.map(lambda artifact: _checked(artifact, repository, expected), unique.values())
            paths = dict(zip(unique, fetched, strict=True))
    except RatemillError:
        raise
    except (OSError, RuntimeError, ValueError, AssertionError, requests.RequestException) as error:
        # jgo reports what it cannot resolve with these; for a person all of them mean the same
        raise Unavailable(f"cannot resolve the jars of {', '.join(parts)} from {url}: {error}") from error
    if resolver.files:
        progress(f"downloaded {resolver.files} files, {resolver.bytes / 1e6:.0f} MB")
    # the same jar may come in by two ways; the class path names it once, where it came first
    return {part: list(dict.fromkeys(paths[str(a)] for a in artifacts)) for part, artifacts in wanted.items()}


def _closure(context: MavenContext, coordinate: str) -> list[Artifact]:
    """The artifact and all that it needs to run, in class path order."""
    inputs, transitive = context.resolver.resolve([context.create_dependency(coordinate)])
    return [d.artifact for d in [*inputs, *(d for d in transitive if d.scope in ("compile", "runtime"))]]


def _checked(artifact: Artifact, repository: Path, expected: Mapping[str, str]) -> Path:
    """Download one jar unless the cache has it, and compare its checksum; a bad one is removed and fetched once more."""
    path = artifact.resolve()
    name = path.relative_to(repository).as_posix()
    if not expected:
        return path
    for last in (False, True):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if expected.get(name) == digest:
            return path
        path.unlink()
        if not last:
            path = artifact.resolve()
    raise Unavailable(f"{name} has the SHA-256 {digest}, expected {expected.get(name, 'no such file')}; it was removed and will not be run")


def write_checksums(file: Path, parts: Mapping[str, Sequence[str]]) -> None:
    """Write the checksums of coordinates and all that they need, from a fresh download."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        found = fetch_parts(repository, parts, {}, lambda line: print(line, file=sys.stderr))
        paths = sorted({path for part in found.values() for path in part})
        sums = {p.relative_to(repository).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
    file.write_text(json.dumps(sums, indent=1) + "\n")


if __name__ == "__main__":
    write_checksums(CHECKSUMS, PARTS)
