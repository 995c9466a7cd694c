"""What a running worker holds: memory, file descriptors, threads, local state, lag. Read from outside."""

from __future__ import annotations

import contextlib
import os
import urllib.request
from collections import Counter
from pathlib import Path

import msgspec
import psutil
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Metrics", "Probe", "Sample", "folder_mb"]


class Sample(msgspec.Struct):
    """One look at a worker."""

    at_s: float  # since the beginning
    rss_mb: float
    files: int  # open descriptors that are files
    sockets: int
    other: int  # pipes, event polls, devices
    threads: int
    state_mb: float  # RocksDB folders
    changelog_mb: float  # partitions of ratemill.state.* on the broker's disk
    behind: int  # events produced that no committed transaction of `rate` tells of
    waiting: int  # records of usage.rated that the index agent has not taken


class Metrics:
    """The metrics of a worker at one moment."""

    def __init__(self, port: int) -> None:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
            families = text_string_to_metric_families(response.read().decode())
            self._samples = [sample for family in families for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """Sum of the samples of this name whose labels include these."""
        return sum(s.value for s in self._samples if s.name == name and labels.items() <= s.labels.items())

    def greatest(self, name: str) -> float:
        """Greatest sample of this name, 0 without any."""
        return max((s.value for s in self._samples if s.name == name), default=0)


def folder_mb(folder: Path, pattern: str = "**/*") -> float:
    """MB of the files in a folder that match; files that go meanwhile count nothing."""
    total = 0
    for file in folder.glob(pattern):
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total / 1e6


def _descriptors(pid: int) -> Counter[str]:
    """Open descriptors by kind; all of them are `other` where the system does not tell."""
    kinds: Counter[str] = Counter()
    folder = Path(f"/proc/{pid}/fd")
    if not folder.is_dir():
        return Counter(other=psutil.Process(pid).num_fds())
    for link in folder.iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(link)
            is_file = target.startswith("/") and not target.startswith("/dev/")
            kinds["sockets" if target.startswith("socket:") else "files" if is_file else "other"] += 1
    return kinds


class Probe:
    """Takes samples of one worker process."""

    def __init__(self, pid: int, data: Path, broker_data: Path, prefix: str) -> None:
        self._process = psutil.Process(pid)
        self._state = data / "state"
        self._broker, self._changelogs = broker_data, f"{prefix}ratemill.state.*/*"

    def take(self, at_s: float, behind: int, waiting: int) -> Sample:
        """One sample; what only the caller knows is passed in."""
        kinds = _descriptors(self._process.pid)
        return Sample(
            at_s=round(at_s, 1), rss_mb=round(self._process.memory_info().rss / 1e6, 1), files=kinds["files"], sockets=kinds["sockets"],
            other=kinds["other"], threads=self._process.num_threads(), state_mb=round(folder_mb(self._state), 2),
            changelog_mb=round(folder_mb(self._broker, self._changelogs), 1), behind=behind, waiting=waiting,
        )  # fmt: skip
