"""Fixtures for every test: one embedded Kafka and Elasticsearch per session, started only if a test asks for it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from decimal import DefaultContext, localcontext
from pathlib import Path

import pytest
from archives import OPTIONS, ensure_archives
from costs import Costs
from hypothesis import HealthCheck, settings
from ratemill.local.stack import Stack

pytest_plugins = ["databases"]

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("ratemill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ratemill")


def pytest_configure(config: pytest.Config) -> None:
    """TESTS_COST=FILE: what each file of tests costs (costs.py)."""
    if file := os.environ.get("TESTS_COST"):
        config.pluginmanager.register(Costs(Path(file)))


os.environ.setdefault("RATEMILL_JAVA_OPTIONS", OPTIONS)

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
    ensure_archives()
    running = Stack(tmp_path_factory.mktemp("stack"), max_lifetime=MAX_LIFETIME)
    running.up()
    yield running
    running.down(wipe=True)
