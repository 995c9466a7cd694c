"""What each file of tests costs.

    TESTS_COST=FILE make test      appends a line of JSON to FILE for each file of tests
    python tests/costs.py FILE             shows them, the most expensive first

CPU seconds are those of the test process and of all that it started, living or ended: workers, servers, browsers. What is started once a
process (the shared stack, the process that forks workers) counts for the file that asks first, and later for whoever uses it. Not seen:
processes that outlive the command which started them, as the servers of `ratemill local up` do.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable
from pathlib import Path

import psutil
import pytest

__all__ = ["Costs", "table"]


def spent() -> float:
    """CPU seconds of this process, of its ended children and of all living processes below it."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    total = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            total += sum(child.cpu_times()[:4])  # its own, and of those that it has waited for
        except psutil.NoSuchProcess:
            pass  # ended since: its parent has its time
    return total


class Costs:
    """Pytest plugin: measures from the first test of a file to its last."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Measurement begins with the tests: what their collection costs is not in it."""
        self._tests, self._begun, self._before = 0, time.monotonic(), spent()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
        """One test, with the fixtures that begin and end with it."""
        result = yield
        self._tests += 1
        if nextitem is None or nextitem.path != item.path:
            now, cpu = time.monotonic(), spent()
            line = {"file": item.nodeid.partition("::")[0], "tests": self._tests, "cpu": cpu - self._before, "wall": now - self._begun}
            with self._file.open("a") as output:
                output.write(json.dumps(line) + "\n")
            self._tests, self._begun, self._before = 0, now, cpu
        return result


def table(lines: Iterable[str]) -> list[str]:
    """The most expensive file first, and the sum; a file that was measured in several parts stands once."""
    sums: dict[str, Counter[str]] = {}
    for line in map(json.loads, lines):
        sums.setdefault(line.pop("file"), Counter()).update(line)
    rows = [*sorted(sums.items(), key=lambda row: -row[1]["cpu"]), ("all", sum(sums.values(), Counter()))]
    return ["  CPU s  wall s  tests  file", *(f"{each['cpu']:7.1f} {each['wall']:7.1f} {each['tests']:6}  {name}" for name, each in rows)]


if __name__ == "__main__":
    try:
        print("\n".join(table(Path(sys.argv[1]).read_text().splitlines())))
    except BrokenPipeError:
        os._exit(0)
