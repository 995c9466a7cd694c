"""`make chaos SEED=n`: faults from a seed, then healing, then the oracle. The last line says what was lost, doubled, mismatched."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from harness.worker_main import BREAKS
from ratemill.schemas.errors import RatemillError

from .run import Report, run
from .schedule import draw

__all__ = ["main"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seed", type=int, required=True, help="decides traffic, faults, their times and victims")
    parser.add_argument("--seconds", type=float, default=60, help="how long faults hit; at least 10")
    parser.add_argument("--brokers", type=int, choices=(0, 1, 3), default=0, help="3: replication 3, two in-sync replicas; 0: the seed decides")
    parser.add_argument("--break", dest="breaks", action="append", default=[], choices=sorted(BREAKS), help="take a guarantee away: must be caught")
    parser.add_argument("--plan", action="store_true", help="print the schedule and do nothing")
    parser.add_argument("--keep", action="store_true", help="keep logs and data of a good run too")
    parser.add_argument("--dir", type=Path, default=Path(".ratemill/chaos"), help="where runs have their data and logs")
    given = parser.parse_args()
    if given.seconds < 10:
        parser.error("--seconds: at least 10, or nothing can hit in the middle")
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


def main() -> int:
    """0 only if nothing is lost, doubled or mismatched, and at least one fault hit."""
    given = _arguments()
    plan = draw(given.seed, given.seconds, given.brokers)
    for fault in plan.faults:
        _say(f"plan: {fault.at_s:5.1f} s  {fault.kind} for {fault.lasts_s:.1f} s")
    if given.plan:
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a polite end must still end servers and workers
    folder = (given.dir / f"seed-{plan.seed}-{os.getpid()}").absolute()
    folder.mkdir(parents=True)
    good = False
    try:
        report = asyncio.run(run(plan, folder, given.breaks, _say))
        _show(report)
        good = report.good
        print(report.line, flush=True)
    except RatemillError as error:
        print(f"chaos seed={plan.seed} failed: {error}", flush=True)
    except KeyboardInterrupt:
        return 130
    finally:
        if good and not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            _say(f"logs, schedule and topics: {folder}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
