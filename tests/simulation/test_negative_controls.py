"""Each guarantee is taken away in turn, and the same worlds notice."""

from __future__ import annotations

import re

import pytest

from simulation.breaches import BREACHES
from simulation.plans import plan_of
from simulation.pool import run_seeds

SEEDS = 10_000  # most are noticed within fifty

# These two are seldom: only worlds are run in which what they need may happen, which is a third of all.
NEEDS = {
    "a producer goes on after a lost answer": {"unanswered"},
    "no versions of documents": {"unanswered", "noise"},
}

# Where the search begins: near a seed that noticed once. It goes on through all others, so it costs only time when that is another world by now.
BEGINS = {"no versions of documents": 3_980, "a producer goes on after a lost answer": 1_670}

SAYS = {
    "no deduplication": "usage.rated: .* rows are missing, .* are not expected",
    "offsets before line items": "usage.rated: .* rows are missing|requests without a receipt",  # usage is lost, or a request
    "no fencing": "was committed behind",
    "random document ids": "Elasticsearch: .* are not in usage.rated",
    "no versions of documents": "Elasticsearch: .* 0 are missing, .* differ",
    "an unknown outcome is a commit": "",
    "swap before commit": "usage.rated(, sums)?: ",  # sums, where a month was closed
    "offsets before Elasticsearch answers": "Elasticsearch: .* are missing",
    "float money": "usage.rated(, sums)?: ",
    "a producer goes on after a lost answer": "",
    "restoring ends at the last stable offset": "was committed behind",
    "restoring reads what was not committed": "",
    "a missing batch goes unnoticed": "",
    "batches of an earlier incarnation are taken": "",
}


@pytest.mark.parametrize("breach", list(BREACHES))
def test_it_is_noticed(breach: str) -> None:
    needs = NEEDS.get(breach)
    begin = BEGINS.get(breach, 0)
    seeds = [seed for seed in (*range(begin, SEEDS), *range(begin)) if needs is None or any(fault.kind in needs for fault in plan_of(seed).faults)]
    report = run_seeds(seeds, breach=breach, enough=1, chunk=10)
    assert report.failures, f"{len(seeds)} worlds do without it"
    seed, found = next(iter(report.failures.items()))
    print(f"{breach}: seed {seed} says: {found[0]}")
    assert re.search(SAYS[breach], "\n".join(found)), found
    assert not run_seeds([seed]).failures  # and it is the breach that it noticed
