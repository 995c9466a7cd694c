"""What the bench prints and keeps."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from .latency import LatencyResult
from .run import Result

__all__ = ["keep", "save", "show", "table"]

RESULTS = Path(__file__).parent / "results"


def table(title: str, columns: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under columns; the first column is text, the others are figures."""
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 200)
    made = Table(title=title, title_justify="left", **({} if terminal else {"box": None, "pad_edge": False}))  # type: ignore[arg-type]
    for at, column in enumerate(columns):
        made.add_column(column, justify="right" if at else "left", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    console.print(made)


def show(results: Sequence[Result], latency: LatencyResult | None) -> None:
    """Print everything that was measured."""
    if results:
        _show_throughput(results)
    if latency is not None:
        _show_latency(latency)


def _show_latency(result: LatencyResult) -> None:
    columns = ("path", "events", "events/s", "markers", "p50 s", "p99 s", "max s", "worker CPU s", "documents", "checks")
    row = (
        "normalize, rate, index", f"{result.events:,}", f"{result.events_per_s:,.0f}", f"{result.markers:,}",
        f"{result.p50_s:.2f}", f"{result.p99_s:.2f}", f"{result.max_s:.2f}", f"{result.cpu_s['worker']:.1f}",
        f"{result.documents:,}", "MISMATCH" if result.mismatches else "OK",
    )  # fmt: skip
    table("Event to visible: from the Kafka producer to a search in Elasticsearch, nothing pinned", columns, [row])
    print(f"the producer was at most {result.producer_late_s:.2f} s behind its schedule; a partition started again {result.restarts} times")
    print(f"p99 of each ten seconds: {', '.join(f'{p99:.1f}' for p99 in result.p99_each_10_s)}")
    print(f"CPU seconds: {', '.join(f'{name} {seconds:.0f}' for name, seconds in result.cpu_s.items())}, of {result.machine_s:.0f} the machine has")
    for line in result.mismatches:
        print(f"latency: MISMATCH {line}")


def _show_throughput(results: Sequence[Result]) -> None:
    """Print the runs, and the median where a path ran several times."""
    columns = (
        "path", "events", "a record", "wall s", "CPU s", "events per CPU-s", "bare loop", "peak MB", "line items", "distinct", "ratio", "checks"
    )  # fmt: skip
    rows = [
        (
            r.path, f"{r.events:,}", f"{r.per_record:,}", f"{r.wall_s:.1f}", f"{r.cpu_s:.1f}", f"{r.events_per_cpu_s:,}", f"{r.calibration:,}",
            f"{r.peak_mb:,}", f"{r.line_items_written:,}", f"{r.line_items:,}", f"{r.restatement:.2f}", "MISMATCH" if r.mismatches else "OK",
        )
        for r in results
    ]  # fmt: skip
    table("Throughput: worker process only, pinned to one core, exactly-once on", columns, rows)
    for path in dict.fromkeys(r.path for r in results):
        figures = [r.events_per_cpu_s for r in results if r.path == path]
        if len(figures) > 1:
            print(f"{path}: median {statistics.median(figures):,.0f}, from {min(figures):,} to {max(figures):,} events per CPU-second")
    direct, beside = ([r.events_per_cpu_s for r in results if r.path == path] for path in ("direct", "shadow"))
    if direct and beside:
        share = 100 * statistics.median(beside) / statistics.median(direct)
        print(f"with a draft beside the live book: {share:.0f}% of the events per CPU-second without one")
    for r in results:
        for line in r.mismatches:
            print(f"{r.path}, round {r.round}: MISMATCH {line}")
        if r.restarts:
            print(f"{r.path}, round {r.round}: {r.restarts} times a partition started again; the figure includes that")


def save(results: Sequence[Result], latency: LatencyResult | None, beside: Sequence[Any] = ()) -> None:
    """Keep what was measured as JSON, one file per bench."""
    keep("", {"runs": results, "latency": latency, "beside": beside})


def keep(name: str, figures: Mapping[str, Any]) -> Path:
    """Keep figures as JSON in a file of their own, with the time and the machine. Returns the file."""
    RESULTS.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count()}
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    file = RESULTS / f"{at}{'-' if name else ''}{name}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode({"at": at, "machine": machine, **figures}), indent=1))
    return file
