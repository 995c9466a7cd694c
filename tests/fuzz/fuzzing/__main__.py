"""Fuzz everything that reads what others wrote.

    python -m fuzzing                                  a million inputs over all targets, seed of the day
    python -m fuzzing format-aws-cur --inputs 50000    one target
    python -m fuzzing --replay FILE                    one input again; its name begins with its target

Exit status 1 when anything failed: each failure is saved under build/fuzz, with a line that reproduces it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .run import TARGETS, Failure, attempt, child_main, in_processes, save
from .targets import ROOT

MEMORY_BYTES = 3 << 30  # address space of a process: what asks for more fails as an input, and not as a machine


@click.command(help=(__doc__ or "").replace("\n\n    ", "\n\n\b\n    "))
@click.argument("names", nargs=-1, metavar="[TARGET]...")
@click.option("--inputs", default=1_000_000, show_default=True, type=click.IntRange(min=1), help="How many, over all targets.")
@click.option("--seed", default="", help="Which ones; default: the day.")
@click.option("--jobs", default=0, type=click.IntRange(min=0), help="Processes; default: as many as processors.")
@click.option("--replay", type=click.Path(exists=True, dir_okay=False), help="Check one saved input.")
@click.option("--list", "listing", is_flag=True, help="Name the targets.")
@click.option("--child", hidden=True)
def main(names: tuple[str, ...], inputs: int, seed: str, jobs: int, replay: str | None, listing: bool, child: str | None) -> None:
    """See the head of this file."""
    if listing:
        click.echo("\n".join(TARGETS))
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    if child is not None:
        child_main(*json.loads(child))
        return
    if replay is not None:
        sys.exit(_replay(Path(replay)))
    if unknown := [name for name in names if name not in TARGETS]:
        raise click.UsageError(f"no target is called {unknown[0]!r}; --list names them")
    seed = seed or datetime.now(UTC).strftime("%Y%m%d")
    began = time.monotonic()
    columns = (TextColumn("fuzzing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=inputs, rate="")
        said, reached = [began], [0]

        def told(done: int) -> None:
            now, reached[0] = time.monotonic(), done
            rate = f"{done / max(now - began, 0.1):,.0f}/s"
            bar.update(task, completed=done, rate=rate)
            if not console.is_terminal and now - said[0] > 30:
                said[0] = now
                click.echo(f"{done:,} of {inputs:,} inputs, {rate}", err=True)

        def found(failure: Failure) -> None:
            # Each when it is known: a run that is ended has told what it found.
            click.echo(f"{failure.target} input {failure.number}: {failure.said} ({failure.where})")
            click.echo(f"    {save(failure, ROOT / 'build' / 'fuzz', seed)}")

        failures = in_processes(names or tuple(TARGETS), inputs, seed, jobs or len(os.sched_getaffinity(0)), told, found)
    seconds = time.monotonic() - began
    targets = len(names or TARGETS)
    done = reached[0]
    click.echo(
        f"fuzz seed={seed} inputs={done} targets={targets} failures={len(failures)} seconds={seconds:.0f} inputs_per_s={done / seconds:.0f}"
    )
    sys.exit(1 if failures else 0)


def _replay(path: Path) -> int:
    target = TARGETS.get(path.name.split("--")[0])
    if target is None:
        raise click.UsageError(f"{path.name} does not begin with the name of a target and `--`")
    failure = attempt(target, path.read_bytes())
    click.echo(f"{target.name}: everything holds" if failure is None else f"{target.name}: {failure.said} ({failure.where})")
    if failure is not None:
        target.check(path.read_bytes())  # once more, for the traceback
    return 0 if failure is None else 1


main()
