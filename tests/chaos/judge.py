"""The verdict: what the oracle makes of the raw topics against usage.rated, Elasticsearch, and the totals that are read from it."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import NamedTuple

from harness.oracle import Row, differences
from harness.verdict import beside_rows, outcome
from harness.workers import Bed
from ratemill.sinks.costs import costs
from ratemill.sinks.elasticsearch import connect

__all__ = ["Tally", "Verdict", "judge", "tally"]

_ID = 8  # account, sku, start, end, region, resource, dimensions, component: what makes a line item that line item


class Tally(NamedTuple):
    """How rows differ: line items that are not there, that are there too often, and that say something else."""

    lost: int
    doubled: int
    mismatched: int


class Verdict(NamedTuple):
    """All that is wrong; nothing when the three numbers are 0."""

    events: int  # received, duplicates and poison among them
    lost: int
    doubled: int
    mismatched: int
    lines: list[str]


def tally(wanted: Counter[Row], got: Counter[Row]) -> Tally:
    """Compare line items by identity, then by amounts."""
    expected, found = ({}, {})  # type: dict[tuple[str, ...], Counter[Row]], dict[tuple[str, ...], Counter[Row]]
    for rows, by_id in ((wanted, expected), (got, found)):
        for row, count in rows.items():
            by_id.setdefault(tuple(map(str, row[:_ID])), Counter())[row] += count
    lost = doubled = mismatched = 0
    for id in expected.keys() | found.keys():
        theirs, ours = expected.get(id, Counter()), found.get(id, Counter())
        lost += max(0, theirs.total() - ours.total())
        doubled += max(0, ours.total() - theirs.total())
        mismatched += min((theirs - ours).total(), (ours - theirs).total())
    return Tally(lost, doubled, mismatched)


async def judge(bed: Bed) -> Verdict:
    """Read everything back and compare. Servers must be up, and all that was published rated and indexed."""
    found = await outcome(bed)
    wanted = found.wanted.rows
    lost = doubled = 0
    lines: list[str] = []
    mismatched = 0
    assert found.documents is not None
    for where, rows in (("usage.rated", found.rows), ("Elasticsearch", found.documents)):
        one = tally(wanted, rows)
        lost, doubled, mismatched = lost + one.lost, doubled + one.doubled, mismatched + one.mismatched
        lines += differences(where, wanted, rows)
    beside = await beside_rows(bed, found)
    beside += await _totals(bed, wanted)
    beside += [f"a transaction is still open: {where}" for where in await bed.open_transactions()]
    events = sum(found.wanted.received.values())
    return Verdict(events, lost, doubled, mismatched + len(beside), lines + beside)


async def _totals(bed: Bed, wanted: Counter[Row]) -> list[str]:
    """Totals by account and SKU, read from Elasticsearch as `ratemill costs` reads them, against sums of the oracle's rows."""
    sums: dict[tuple[str | None, str | None], Fraction] = {}
    for row, count in wanted.items():
        sums[row.account, row.sku] = sums.get((row.account, row.sku), Fraction(0)) + row.cost * count
    client = connect(bed.stack.elasticsearch)
    try:
        rows = await costs(client, bed.index, by=("account", "sku"))
    finally:
        await client.close()
    got = {(row.group["account"], row.group["sku"]): Fraction(row.billed_cost) for row in rows}
    wrong = [name for name in sums.keys() | got.keys() if sums.get(name, 0) != got.get(name, 0)]
    return [f"totals: {len(wrong)} of {len(sums)} differ, such as {wrong[0]}: {got.get(wrong[0])}, not {sums.get(wrong[0])}"] if wrong else []
