"""Seeded runs of the reporter, and a table of what came of them.

python -m marketplaces [--runs N] [--first SEED] [--kind KIND]     from tests/; exit status 1 when a run is wrong
python -m marketplaces --controls                                  the first seed that finds each reporter that is wrong on purpose
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from ratemill.store.database import open_database

from .broken import CONTROLS
from .markets import KINDS
from .verdict import judge
from .world import Broken, make_world


def play(
    seed: int, folder: Path, template: Path, kinds: tuple[str, ...] = KINDS, broken: Broken | None = None
) -> tuple[list[str], Counter[str], str]:
    """(what is wrong, what became of targets, records and the reporter, kind) of one seed."""
    world = make_world(seed, folder, template, kinds, broken)
    try:
        world.run()
        wrong, outcome = judge(world)
    finally:
        world.engine.dispose()
        for path in folder.glob(f"{seed}.db*"):
            path.unlink()
    outcome.update({f"reporter: {name}": number for name, number in world.counts.items()})
    return wrong, outcome, world.plan.kind


def make_template(folder: Path) -> Path:
    path = folder / "template.sqlite"
    open_database(f"sqlite:///{path}").dispose()
    return path


def first_caught(broken: Broken, folder: Path, template: Path, most: int, kinds: tuple[str, ...] = KINDS) -> tuple[int, str]:
    """(seed, what was wrong) of the first run that finds it; seed 0: none of the first `most` does."""
    for seed in range(1, most + 1):
        wrong, _, _ = play(seed, folder, template, kinds, broken)
        if wrong:
            return seed, wrong[0]
    return 0, ""


def controls(folder: Path, template: Path) -> int:
    missed = 0
    print("| wrong on purpose | caught by seed | because |\n|---|--:|---|")
    for name, broken in CONTROLS.items():
        seed, why = first_caught(broken, folder, template, 400)
        missed += not seed
        print(f"| {name} | {seed or 'none'} | {why} |", flush=True)
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS)
    options = parser.parse_args()
    logging.getLogger("ratemill.marketplace").setLevel(logging.CRITICAL)
    kinds = (options.kind,) if options.kind else KINDS
    table: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    failed = 0
    began = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        template = make_template(folder)
        if options.controls:
            return controls(folder, template)
        for seed in range(options.first, options.first + options.runs):
            wrong, outcome, kind = play(seed, folder, template, kinds)
            table[kind].update(outcome)
            table[kind]["runs"] += 1
            table[kind]["wrong runs"] += bool(wrong)
            failed += bool(wrong)
            for each in wrong[:5]:
                print(f"seed {seed} ({kind}): {each}")
    rows = sorted({name for counts in table.values() for name in counts})
    print("| | " + " | ".join(kinds) + " |\n|---|" + "--:|" * len(kinds))
    for row in rows:
        print(f"| {row} | " + " | ".join(f"{table[kind][row]:,}" for kind in kinds) + " |")
    print(f"marketplaces runs={options.runs} first={options.first} wrong={failed} cpu_s={time.process_time() - began:.0f}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
