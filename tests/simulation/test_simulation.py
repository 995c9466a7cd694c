"""Seeds of the simulation (docs/simulation.md): each is a world of its own, and in each everything must hold.

    TESTS_SIMULATIONS=2000 TESTS_SEED=7 pytest tests/simulation/test_simulation.py

Without them: 20,000 seeds, always the same. A failure says its seed, and the command that shows all that happened.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.plans import FAULTS
from simulation.pool import Report, run_seeds
from simulation.sites import all_sites

SEEDS = int(os.environ.get("TESTS_SIMULATIONS", "20000"))
FIRST = int(os.environ["TESTS_SEED"]) * 1_000_000 if "TESTS_SEED" in os.environ else 20_000
TESTS = Path(__file__).parents[1]

# Functions in which no worker need have died, and why.
SPARED = {
    ("lanes/shadowing.py", "Shadowing.next"): "there are no drafts of price books",
    ("streams/ledger.py", "_send_pairs"): "it waits only while the producer has no room: too seldom for a few thousand seeds",
    ("sinks/elasticsearch.py", "ElasticsearchSink.close"): "it ends with the process",
    ("lanes/answers.py", "Answers._revert"): "there are no backfills",
    ("streams/restore.py", "spans"): "only commands ask for it",
    ("streams/restore.py", "readable"): "only the doctor asks for it",
    ("sinks/elasticsearch.py", "ElasticsearchSink.__aenter__"): "only tests use it",
    ("sinks/elasticsearch.py", "ElasticsearchSink.__aexit__"): "only tests use it",
    ("sinks/elasticsearch.py", "check"): "only commands ask for it",
    ("sinks/elasticsearch.py", "ElasticsearchSink._create"): "once for each index: too seldom for a few thousand seeds",
    ("sinks/elasticsearch.py", "ElasticsearchSink._halve"): "the same",
}


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Report:
    """All seeds, run once."""
    told = request.config.get_terminal_writer()

    def tell(line: str) -> None:
        told.line(f"simulation: {line}")

    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        told.line()
        found = run_seeds(range(FIRST, FIRST + SEEDS), told=tell)
        tell(str(found).splitlines()[0])
    return found


def test_in_every_world_nothing_is_lost_or_doubled(report: Report) -> None:
    assert not report.failures, str(report)
    assert report.seeds == SEEDS


def test_every_kind_of_fault_hits(report: Report) -> None:
    missing = [kind for kind in FAULTS if not report.worlds[f"fault: {kind}"]]
    requests = ("InitProducerId", "AddPartitionsToTxn", "Produce", "AddOffsetsToTxn", "TxnOffsetCommit", "EndTxn", "Fetch", "ListOffsets")
    missing += [f"{what} {how}" for what in requests for how in ("refused", "lost", "late", "silent") if not report.worlds[f"kafka: {what} {how}"]]
    missing += [f"POST _bulk {how}" for how in ("refused", "lost", "late", "silent") if not report.worlds[f"elasticsearch: POST _bulk {how}"]]
    effects = (
        "transactions aborted by the next holder", "transactions timed out", "requests of a fenced producer", "batches produced twice",
        "markers written apart", "zombies", "deliveries dropped", "deliveries doubled", "deliveries swapped", "stops", "crashes",
        "answered 409", "answered 429", "answered 503", "answered 413", "answered nonsense", "answered 403 read-only", "index lost",
        "lanes fenced", "unknown outcomes", "writes lost on disks",
    )  # fmt: skip
    missing += [what for what in effects if not report.worlds[what]]
    assert missing == []


def test_workers_die_in_every_function_of_the_protocol(report: Report) -> None:
    """At an await of each function that has any. (At how many of the awaits: docs/simulation.md.)"""
    died = {(file, function) for file, function, _ in report.sites}
    functions = {(file, function) for file, sites in all_sites().items() for function, _ in sites.values()}
    assert functions - died - SPARED.keys() == set()


def test_a_seed_fixes_everything() -> None:
    """Two processes, each with addresses of its own: the same steps, one by one."""
    command = [sys.executable, "-m", "simulation", "0", "--count", "12", "--digest"]
    once, again = (subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=True, timeout=300).stdout for _ in range(2))
    assert once == again
    assert len(set(once.split())) == 24  # seeds and digests, all different
