"""Compiled loops that are each broken in one place: the tests that guard them notice."""

from __future__ import annotations

from pathlib import Path

import pytest
from native_builds import needs_compiler, noticed

pytestmark = needs_compiler

BROKEN = {
    "what a window held is forgotten": ("if not _sum(&c.held, &c.pending, &c.held):", "c.held = c.pending\n                if False:"),
    "another provider changes nothing": ("relabelled = c.held_too and provider != c.held_provider", "relabelled = False"),
    "nothing is withdrawn": ("items.append(rating._withdrawn(", "print(rating._withdrawn("),
    "a tier of no width is charged": ("if _is_beyond(&bounds[tier], &at):", "if True:"),
    "a mark never moves": ("reached, mark = reached + 1, key", "reached, mark = reached + 1, mark or key"),
    "what was restated is not held": ("_sum(&c.held, &c.pending, &c.held)\n                else", "pass\n                else"),
    "a bound is passed unseen": ("and not beyond", "or beyond"),
    "a late event is put behind the mark": ("if g.reached and self._key", "if False and self._key"),
    "an amount without room is dropped": ("self._add_more(cell, _as_decimal(&r.quantity))", "pass"),
    "the first provider stays": ("return first if self._providers[first] < self._providers[second] else second", "return first"),
    "a trimmed group keeps its old windows' numbers": ("self._generation += 1", "pass"),
    "forgotten prices stay": ("self._groups[i].who, self._groups[i].commit = NOBODY, 0", "pass"),
    "a draft is told what came, not what was there": ("_as_decimal(&self._cells[at].held) if", "_as_decimal(&self._cells[at].pending) if"),
    "a draft is told of nothing where there was no window": ("if self._cells[at].held_too else None)", "if True else None)"),
    "a draft is told of what it does not want": ("if not watch.wants(key):", "if False:"),
    "a draft is told twice of what is left to Python": ("                seen = None\n", ""),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_loop_is_noticed(tmp_path: Path, broken: str) -> None:
    noticed(tmp_path, BROKEN[broken], "tests/unit/native/test_windows.py")


def test_a_table_that_loses_identities_is_noticed(tmp_path: Path) -> None:
    """When the table grows, the last identity is left out of its index."""
    loop = "for i in range(self._count):\n            at = self._slot(items"
    noticed(tmp_path, (loop, loop.replace("self._count", "self._count - 1")), "tests/unit/streams/test_recent_ids.py", "-k", "dict")


BROKEN_RUNS = {
    "the filter forgets a bit": ("i < 6; i++, bits >>= 9) block[", "i < 5; i++, bits >>= 9) block["),
    "what a later run has is passed over": ("readers[from_].at += 1\n            if order <= 0:", "readers[i].at += 1\n            if order < 0:"),
    "a page is not checked": ("if _spread(to, items * ITEM, page) == pages.sums[page] else -2", "if True else -2"),
    "nor is an index": ("if self._checksum() != footer.checksum:", "if False:"),
    "a page that begins with the same bytes is the only one": ("if self._firsts[low] != first:", "if True:"),
    "the last page is not whole": ("if over:", "if False:"),
}


@pytest.mark.parametrize("broken", BROKEN_RUNS)
def test_a_broken_run_is_noticed(tmp_path: Path, broken: str) -> None:
    noticed(tmp_path, BROKEN_RUNS[broken], "tests/unit/streams/test_runs.py")
