"""`python -m simulation SEED`: run one seed and say what became of it; `--trace` shows everything that happened.

    cd tests && ../.venv/bin/python -m simulation 4711 --trace
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path


def main() -> int:
    """Returns 0 when everything holds, 1 when something does not."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description="Run one seed of the simulation, or several.")
    parser.add_argument("seed", type=int, help="the seed that failed")
    parser.add_argument("--count", type=int, default=1, help="run so many seeds, from this one on")
    parser.add_argument("--trace", action="store_true", help="show everything that happened")
    parser.add_argument("--digest", action="store_true", help="print one digest of all that happened for each seed")
    parser.add_argument("--calm", action="store_true", help="the same world without faults")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # A seed fixes everything only if sets have the same order every time.
        os.execve(sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"})
    sys.path.append(str(Path(__file__).parents[1] / "integration"))
    from .install import install
    from .plans import calm, plan_of
    from .run import simulate

    traced = options.trace or options.digest
    install(traced=traced)
    failed = 0
    began = time.process_time()
    for seed in range(options.seed, options.seed + options.count):
        plan = calm(plan_of(seed)) if options.calm else plan_of(seed)
        result = simulate(seed, plan, traced=traced)
        if options.digest:
            print(seed, result.digest)
        elif options.count > 1 and result.violations:
            print(f"seed {seed}: {'; '.join(result.violations)[:300]}", flush=True)
            failed += 1
        elif options.count == 1:
            print(f"seed {seed}: {result.steps} steps, {result.seconds:.1f} s of virtual time")
            print(plan)
            print("\n".join(result.lines))
            print("\n".join(f"{name}: {count}" for name, count in sorted(result.counts.items())))
            print("\n".join(result.violations) or "everything holds")
            failed += bool(result.violations)
    if options.digest:
        return 0
    print(f"{options.count} seeds, {failed} failed, {(time.process_time() - began) / options.count * 1_000:.1f} ms of processor time each")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
