"""What the bench prints and keeps."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from .run import Result

__all__ = ["save", "show"]

RESULTS = Path(__file__).parent / "results"


def _table(title: str, columns: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 200)
    table = Table(title=title, title_justify="left", **({} if terminal else {"box": None, "pad_edge": False}))  # type: ignore[arg-type]
    for at, column in enumerate(columns):
        table.add_column(column, justify="right" if at else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def show(results: Sequence[Result]) -> None:
    """Print the runs, and the median where a path ran several times."""
    if not results:
        return
    columns = ("path", "events", "wall s", "CPU s", "events per CPU-s", "peak MB", "line items written", "distinct", "written/distinct", "checks")
    rows = [
        (
            r.path, f"{r.events:,}", f"{r.wall_s:.1f}", f"{r.cpu_s:.1f}", f"{r.events_per_cpu_s:,}", f"{r.peak_mb:,}",
            f"{r.line_items_written:,}", f"{r.line_items:,}", f"{r.restatement:.2f}", "MISMATCH" if r.mismatches else "OK",
        )
        for r in results
    ]  # fmt: skip
    _table("Throughput: worker process only, pinned to one core, exactly-once on", columns, rows)
    for path in dict.fromkeys(r.path for r in results):
        figures = [r.events_per_cpu_s for r in results if r.path == path]
        if len(figures) > 1:
            print(f"{path}: median {statistics.median(figures):,.0f}, from {min(figures):,} to {max(figures):,} events per CPU-second")
    for r in results:
        for line in r.mismatches:
            print(f"{r.path}, round {r.round}: MISMATCH {line}")
        if r.restarts:
            print(f"{r.path}, round {r.round}: {r.restarts} times a partition started again; the figure includes that")


def save(results: Sequence[Result]) -> None:
    """Keep the runs as JSON, one file per bench."""
    if not results:
        return
    RESULTS.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count()}
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    (RESULTS / f"{at}.json").write_bytes(msgspec.json.format(msgspec.json.encode({"at": at, "machine": machine, "runs": results}), indent=1))
