"""Fixtures for every test: one embedded Kafka and Elasticsearch per session, started only if a test asks for it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from decimal import DefaultContext, localcontext

import pytest
from hypothesis import HealthCheck, settings
from ratemill.local.stack import Stack

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("ratemill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ratemill")

# Servers live for seconds here: with the first compiler alone they start in half of the CPU time (measured: 12 s, not 21 s, for both).
os.environ.setdefault("RATEMILL_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

# Whatever happens to pytest, no server outlives this.
MAX_LIFETIME = 5_000.0


# Secrets of all tests have this in them, and no test may print one.
CANARY = "canary"


def canaries(sections: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of a test's captured output and logs that hold a secret."""
    return [f"{name}: {line}" for name, text in sections for line in text.splitlines() if CANARY in line]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that passes but printed a secret fails."""
    report = yield
    if report.when == "call" and report.passed and (found := canaries(report.sections)):
        report.outcome = "failed"
        report.longrepr = "a secret was printed:\n" + "\n".join(found)
    return report


@pytest.fixture(autouse=True)
def callers_context() -> Iterator[None]:
    """Commands that run in this process set the exact context for good; the next test begins with Python's own."""
    with localcontext(DefaultContext):
        yield


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack on free ports; mark the test with `pytest.mark.integration`, and choose names nobody else uses."""
    running = Stack(tmp_path_factory.mktemp("stack"), max_lifetime=MAX_LIFETIME)
    running.up()
    yield running
    running.down(wipe=True)
