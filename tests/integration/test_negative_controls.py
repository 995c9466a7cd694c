"""The tests can fail: with one guarantee taken away, the comparison that all of them use reports it."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.scenarios import kill_in_commit, zombie
from harness.verdict import mismatches
from harness.workers import Bed, bed
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration


async def caught(b: Bed, *wanted: str) -> None:
    """Assert that the comparison names all of these, and print what it said."""
    found = await mismatches(b)
    print("\n".join(found))
    for text in wanted:
        assert any(text in line for line in found), f"not caught: {text}; found: {found}"


async def test_without_deduplication(stack: Stack, tmp_path: Path) -> None:
    """Dedupe off: duplicates count, and the totals are too high."""
    async with bed(stack, tmp_path, seed=100, count=2_000) as b:
        b.worker("a", breaks=["no_dedupe"])
        b.start_traffic(per_second=2_000)
        await b.settle()
        await caught(b, "usage.rated:", "Elasticsearch:", "rate duplicates: 0")


async def test_offsets_committed_before_the_line_items(stack: Stack, tmp_path: Path) -> None:
    """Progress and offsets in a transaction of their own, and kill -9 behind it: a batch of usage is lost."""
    async with bed(stack, tmp_path, seed=101) as b:
        await kill_in_commit(b, "before_begin", breaks=["offsets_first"])
        await caught(b, "usage.rated:", "Elasticsearch:")


async def test_without_fencing(stack: Stack, tmp_path: Path) -> None:
    """A transactional.id per process: the zombie's commit goes through, over that of its successor."""
    async with bed(stack, tmp_path, seed=50, count=10_000, session_timeout_s=6) as b:
        await zombie(b, "before_begin", breaks=["no_fencing"])
        await b.settle()
        await caught(b, "usage.rated: revision did not grow")


async def test_random_document_ids(stack: Stack, tmp_path: Path) -> None:
    """A new _id for every write: each restatement stays in Elasticsearch beside what it replaces."""
    async with bed(stack, tmp_path, seed=103, count=2_000) as b:
        worker = b.worker("a", breaks=["random_ids"])
        await worker.ready()
        b.start_traffic(per_second=500)
        await b.rated_beyond(1_000)  # over several commits, so that line items are restated
        await b.settle()
        await caught(b, "Elasticsearch:")
