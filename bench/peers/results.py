"""What a peer wrote: taken in record by record, compared with the oracle, put into a table. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext

import msgspec

from ..oracle import EXACT, Expected, Tiers, differences, shortened

__all__ = ["COLUMNS", "PeerResult", "Written", "markdown", "rows"]


class _Window(msgspec.Struct):
    quantity: str
    cost: str


class Written:
    """The newest result of each window, and what was written to get there."""

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(_Window).decode
        self._windows: dict[bytes, tuple[Decimal, Decimal]] = {}
        self._quantity = Decimal(0)
        self.records = self.bytes = 0

    def take(self, key: bytes, value: bytes) -> None:
        """Take in a record: key `account sku hour`, value {"quantity", "cost"}."""
        read = self._decode(value)
        with localcontext(EXACT):
            quantity = Decimal(read.quantity)
            known = self._windows.get(key)
            self._quantity += quantity - (known[0] if known else 0)
            self._windows[key] = quantity, Decimal(read.cost)
        self.records += 1
        self.bytes += len(key) + len(value)

    @property
    def windows(self) -> int:
        """Different windows."""
        return len(self._windows)

    def holds(self, expected: Expected) -> bool:
        """Whether all usage is in it. Cheap, and no proof: that is `compare`."""
        with localcontext(EXACT):
            return self.windows == expected.windows and self._quantity == sum(quantity for quantity, _ in expected.groups.values())

    def compare(self, expected: Expected, prices: Mapping[str, Tiers]) -> list[str]:
        """What does not agree with the oracle, in words; empty when everything does."""
        found: dict[str, list[Decimal]] = {}
        windows: dict[str, set[str]] = {}
        with localcontext(EXACT):
            for key, (quantity, cost) in self._windows.items():
                account, sku, hour = key.decode().split(" ")
                group = f"{account} {sku} {hour[:7]}"
                sums = found.setdefault(group, [Decimal(0), Decimal(0)])
                sums[0] += quantity
                sums[1] += cost
                windows.setdefault(group, set()).add(hour)
            return shortened(differences(expected, prices, found, windows))


class PeerResult(msgspec.Struct):
    """What one run measured."""

    row: str
    version: str
    round: int
    events: int
    wall_s: float
    cpu_s: float
    events_per_cpu_s: int
    calibration: int  # events per CPU-second of a bare loop right before
    peak_mb: int
    records: int  # written
    written_mb: float  # keys and values
    windows: int
    mismatches: list[str]


COLUMNS = (
    "system", "version", "runs", "events per CPU-s", "least", "most", "bare loop", "ratio to Ratemill", "peak MB", "records", "MB written", "checks",
)  # fmt: skip


def markdown(columns: Sequence[str], made: Sequence[Sequence[str]]) -> str:
    """A table as documentation has it, its columns aligned for a terminal too."""
    widths = [max(map(len, cells)) for cells in zip(columns, *made, strict=True)]
    lines = [columns, ["-" * width for width in widths], *made]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines)


def rows(results: Sequence[PeerResult], baseline: str) -> list[tuple[str, ...]]:
    """A row for each system, in the order of its first run; medians of several runs. The ratio is that of the medians to the baseline's."""
    by_row: dict[str, list[PeerResult]] = {}
    for result in results:
        by_row.setdefault(result.row, []).append(result)
    base = statistics.median(r.events_per_cpu_s for r in by_row[baseline]) if baseline in by_row else None
    made: list[tuple[str, ...]] = []
    for row, runs in by_row.items():
        figures = [r.events_per_cpu_s for r in runs]
        middle = statistics.median(figures)
        made.append((
            row, runs[0].version, str(len(runs)), f"{middle:,.0f}", f"{min(figures):,}", f"{max(figures):,}",
            f"{statistics.median(r.calibration for r in runs):,.0f}", f"{middle / base:.2f}" if base else "",
            f"{statistics.median(r.peak_mb for r in runs):,.0f}", f"{statistics.median(r.records for r in runs):,.0f}",
            f"{statistics.median(r.written_mb for r in runs):,.0f}", "MISMATCH" if any(r.mismatches for r in runs) else "OK",
        ))  # fmt: skip
    return made
