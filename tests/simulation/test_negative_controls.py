"""Each guarantee is taken away in turn, and the same worlds notice."""

from __future__ import annotations

import re

import pytest

from simulation.breaches import BREACHES
from simulation.pool import run_seeds

SEEDS = 3_000  # most are noticed within fifty

SAYS = {
    "no deduplication": "usage.rated: .* rows are missing, .* are not expected",
    "offsets before line items": "usage.rated: .* rows are missing, 0 of|requests without a receipt",  # usage is lost, or a request
    "no fencing": "was committed behind",
    "random document ids": "Elasticsearch: .* are not in usage.rated",
    "no versions of documents": "Elasticsearch: .* 0 are missing, .* differ",
    "an unknown outcome is a commit": "",
    "swap before commit": "usage.rated: ",
    "offsets before Elasticsearch answers": "Elasticsearch: .* are missing",
    "float money": "usage.rated: ",
    "a producer goes on after a lost answer": "",
    "restoring ends at the last stable offset": "was committed behind",
    "restoring reads what was not committed": "",
    "a missing batch goes unnoticed": "",
    "batches of an earlier incarnation are taken": "",
}


@pytest.mark.parametrize("breach", list(BREACHES))
def test_it_is_noticed(breach: str) -> None:
    report = run_seeds(range(SEEDS), breach=breach, enough=1, chunk=10)
    assert report.failures, f"{SEEDS} worlds do without it"
    seed, found = min(report.failures.items())
    print(f"{breach}: seed {seed} says: {found[0]}")
    assert re.search(SAYS[breach], "\n".join(found)), found
