"""`make chaos SEED=n`: faults from a seed, then healing, then the oracle. The last line says what was lost, doubled, mismatched."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from harness.worker_main import BREAKS
from ratemill.schemas.errors import RatemillError

from .run import Report, run
from .schedule import Plan, draw

__all__ = ["main"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seed", type=int, required=True, help="decides traffic, faults, their times and victims")
    parser.add_argument("--seconds", type=float, default=60, help="how long faults hit; at least 10")
    parser.add_argument("--brokers", type=int, choices=(0, 1, 3), default=0, help="3: replication 3, two in-sync replicas; 0: the seed decides")
    parser.add_argument("--break", dest="breaks", action="append", default=[], choices=sorted(BREAKS), help="take a guarantee away: must be caught")
    parser.add_argument("--runs", type=int, default=1, help="so many seeds in a row, from this one on")
    parser.add_argument("--report", type=Path, metavar="FILE", help="append a line of JSON for each run")
    parser.add_argument("--plan", action="store_true", help="print the schedule and do nothing")
    parser.add_argument("--keep", action="store_true", help="keep logs and data of a good run too")
    parser.add_argument("--dir", type=Path, default=Path(".ratemill/chaos"), help="where runs have their data and logs")
    given = parser.parse_args()
    if given.seconds < 10 or given.runs < 1:
        parser.error("--seconds must be at least 10, or nothing can hit in the middle; --runs at least 1")
    return given


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _show(report: Report) -> None:
    for line in report.verdict.lines:
        _say(line)
    missed = [hit for hit in report.hits if not hit.proof]
    if missed:
        _say(f"not counted, because nothing shows that they hit: {', '.join(hit.fault.kind for hit in missed)}")
    _say(f"workers ended with status {dict(report.exits)}; {report.republished} records were published again")


def _row(report: Report) -> dict[str, Any]:
    """A run as a row of a table."""
    plan, its = report.plan, report.verdict
    kinds = Counter(hit.fault.kind for hit in report.hits if hit.proof)
    return {
        "seed": plan.seed, "brokers": plan.brokers, "workers": plan.workers, "seconds": plan.seconds, "faults": report.faults, "kinds": kinds,
        "events": its.events, "lost": its.lost, "doubled": its.doubled, "mismatched": its.mismatched,
        "recovered_s": round(report.recovered_s, 1), "exits": report.exits, "republished": report.republished,
    }  # fmt: skip


def _one(plan: Plan, given: argparse.Namespace) -> bool:
    """Run a plan and say what came of it; True when all is well."""
    for fault in plan.faults:
        _say(f"plan: {fault.at_s:5.1f} s  {fault.kind} for {fault.lasts_s:.1f} s")
    if given.plan:
        return True
    folder = (given.dir / f"seed-{plan.seed}-{os.getpid()}").absolute()
    folder.mkdir(parents=True)
    good = False
    try:
        report = asyncio.run(run(plan, folder, given.breaks, _say))
        _show(report)
        good = report.good
        if given.report is not None:
            with given.report.open("a") as out:
                out.write(json.dumps(_row(report)) + "\n")
        print(report.line, flush=True)
    except RatemillError as error:
        print(f"chaos seed={plan.seed} failed: {error}", flush=True)
    finally:
        if good and not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            _say(f"logs, schedule and topics: {folder}")
    return good


def main() -> int:
    """0 only if nothing is lost, doubled or mismatched, and at least one fault hit, in every run."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a polite end must still end servers and workers
    bad = []
    try:
        for seed in range(given.seed, given.seed + given.runs):
            if not _one(draw(seed, given.seconds, given.brokers), given):
                bad.append(seed)
    except KeyboardInterrupt:
        return 130
    if bad and given.runs > 1:
        _say(f"bad seeds: {', '.join(map(str, bad))}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
