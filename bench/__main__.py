"""`make bench`: throughput of the direct path and of the path through normalize, and event-to-visible latency."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import signal
import statistics
import sys
from pathlib import Path

from ..schemas.errors import RatemillError
from .broker import kafka, work_dir
from .fill import ensure_filled, expected_of
from .latency import LatencyResult, run_latency
from .limits import say
from .peers.programs import PEERS
from .peers.results import PeerResult
from .peers.running import run_peer
from .report import save, show
from .run import AGENTS, Result, run_once
from .shape import PARTITIONS, Shape

__all__ = ["main"]

SCRIPT = next(peer for peer in PEERS if peer.family == "script")
MOST_PACKED = 4_000  # events of about 230 bytes


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ratemill.bench", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N", help="events in the topic (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=1, metavar="R", help="runs of each path, interleaved (default: 1)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--packed", type=int, default=1, metavar="N", help="N events in each record, as a JSON array (default: one, by itself)")
    parser.add_argument("--partitions", type=int, default=PARTITIONS, metavar="P", help=f"of every topic (default: {PARTITIONS})")
    parser.add_argument("--only", choices=[*AGENTS, "latency"], help="one part only; events: the agent rate alone, behind what normalize has packed")
    parser.add_argument("--script", action="store_true", help="the bare script of bench/peers beside it in each round")
    parser.add_argument("--steps", action="store_true", help="print what each step costs an event")
    parser.add_argument("--profile", action="store_true", help="print where the time of the worker goes; the figures are then not comparable")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--kafka", metavar="BOOTSTRAP", help="use this Kafka; its topics named bench.* are deleted")
    where.add_argument("--dir", type=Path, metavar="DIR", help="keep Kafka's data here, so that the next bench need not fill the topic again")
    given = parser.parse_args()
    if min(given.events, given.rounds, given.packed, given.partitions) < 1:
        parser.error("--events, --rounds, --packed and --partitions must be at least 1")
    if given.script and (given.packed > 1 or given.partitions != PARTITIONS or given.only == "latency"):
        parser.error(f"--script reads one event per record in {PARTITIONS} partitions")
    if given.packed > MOST_PACKED:
        parser.error(f"--packed {given.packed}: at most {MOST_PACKED:,}, or a record is larger than rating.max_record_bytes")
    return given


def _tool(given: argparse.Namespace) -> str:
    """What the worker runs through."""
    return "ratemill.bench.profiled" if given.profile else "ratemill.bench.steps" if given.steps else ""


def _throughput(given: argparse.Namespace, folder: Path) -> tuple[list[Result], list[PeerResult]]:
    # What a draft costs is told beside a run without one, on the same machine in the same minutes.
    paths = ["direct", "shadow"] if given.only == "shadow" else [given.only] if given.only else ["direct", "hop"]
    shape = Shape(given.events, given.seed, given.partitions, given.packed)
    results: list[Result] = []
    beside: list[PeerResult] = []
    with kafka(folder, given.kafka, say) as broker:
        topic = asyncio.run(ensure_filled(broker.bootstrap, shape, say))
        expected = asyncio.run(expected_of(broker.bootstrap, topic, shape, folder, say))
        counts = f"{expected.received:,} received, {expected.duplicates:,} duplicates, {expected.windows:,} windows"
        say(f"oracle: {counts}, {shape.partitions} partitions")
        for round_ in range(1, given.rounds + 1):
            for path in paths:
                out, through = folder / f"profile-{path}", _tool(given)
                for old in folder.glob(f"profile-{path}*"):
                    old.unlink()
                result = asyncio.run(run_once(broker, folder / "run", path, round_, shape, expected, say, (through, str(out)) if through else ()))
                say(f"{path}, round {round_}: {result.events_per_cpu_s:,} events per CPU-second")
                results.append(result)
                if through:
                    importlib.import_module(through).report(out, result)
            if given.script:
                beside.append(asyncio.run(run_peer(broker, folder / "peer", SCRIPT, round_, topic, expected, say)))
                say(f"script, round {round_}: {beside[-1].events_per_cpu_s:,} events per CPU-second")
    return results, beside


def _show_beside(results: list[Result], beside: list[PeerResult]) -> None:
    """The script, and what each path makes of its figure."""
    script = statistics.median(each.events_per_cpu_s for each in beside)
    print(f"bare script ({beside[0].version}, no guarantee): median {script:,.0f} events per CPU-second, peak {beside[0].peak_mb:,} MB")
    for path in dict.fromkeys(r.path for r in results):
        print(f"{path}: {statistics.median(r.events_per_cpu_s for r in results if r.path == path) / script:.2f} times the script")
    for each in beside:
        for line in each.mismatches:
            print(f"script, round {each.round}: MISMATCH {line}")


def main() -> int:
    """Run what was asked for; 1 when anything does not agree with the oracle."""
    given = _arguments()
    # A polite end must still end the servers and the worker.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with work_dir(given.dir) as folder:
            results, beside = ([], []) if given.only == "latency" else _throughput(given, folder)
            latency: LatencyResult | None = None
            if given.only in (None, "latency") and given.packed == 1 and not _tool(given):
                latency = run_latency(folder, say)
    except RatemillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    show(results, latency)
    if beside:
        _show_beside(results, beside)
    if not _tool(given):
        save(results, latency, beside)
    wrong = any(r.mismatches for r in results) or any(r.mismatches for r in beside)
    return 1 if wrong or (latency is not None and latency.mismatches) else 0


if __name__ == "__main__":
    sys.exit(main())
