"""From a case that fails to a small one: drop what the failure does not need, until nothing more can go.

    python -m generated.shrink SEED PROFILE        (in tests/property)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from ratemill.schemas.errors import BadPriceBook

from .cases import CASES_PER_WORLD, check_history
from .chance import Chance
from .histories import History, Phase, history_of
from .worlds import World, made, world_of, yaml_of

__all__ = ["shrunk", "told"]

Fails = Callable[[World, History], str]
TRIES = 12  # deliveries of one history: another order may be needed to fail


def failure(world: World, history: History) -> str:
    """How a history fails, by any of some deliveries; "" if it does not."""
    for number in range(TRIES):
        try:
            check_history(Chance(f"shrink {number}"), world, history)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return ""


def shrunk(world: World, history: History, fails: Fails = failure) -> tuple[World, History]:
    """A smaller world and history that fail as well."""
    wanted = fails(world, history)[:40]  # of that kind
    progress = True
    while progress:
        progress = False
        for smaller in _smaller_histories(history):
            if fails(world, smaller)[:40] == wanted:
                history, progress = smaller, True
                break
        if progress:
            continue
        for specs in _smaller_specs(world.specs):
            try:
                candidate = made(specs, world.feeds, world.accounts, world.window_s)
            except (BadPriceBook, KeyError):
                continue
            if fails(candidate, history)[:40] == wanted:
                world, progress = candidate, True
                break
    return world, history


def _smaller_histories(history: History) -> Iterator[History]:
    phases = history.phases
    for at, phase in enumerate(phases):
        if len(phases) > 1:
            yield History(phases[:at] + phases[at + 1 :])
        for smaller in _smaller_phases(phase):
            yield History((*phases[:at], smaller, *phases[at + 1 :]))


def _smaller_phases(phase: Phase) -> Iterator[Phase]:
    if phase.end is not None:
        yield phase._replace(end=None)
    if phase.tariff is not None:
        yield phase._replace(tariff=None)
    for key in ("again", "amendments", "events", "backfills"):
        members: tuple[Any, ...] = getattr(phase, key)
        size = len(members)
        while size:
            for at in range(0, len(members), size):
                yield phase._replace(**{key: members[:at] + members[at + size :]})
            size //= 2


def _smaller_specs(specs: tuple[dict[str, Any], dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    first, second = specs
    if first != second:
        yield first, first
        yield second, second
    for at, spec in enumerate(specs):
        for smaller in _smaller_spec(spec):
            yield (smaller, smaller) if first == second else (smaller, second) if not at else (first, smaller)


def _smaller_spec(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key, members in spec.items():
        if not isinstance(members, list):
            continue
        for at, member in enumerate(members):
            yield spec | {key: members[:at] + members[at + 1 :]}
            for field, value in member.items():
                yield spec | {key: [*members[:at], {k: v for k, v in member.items() if k != field}, *members[at + 1 :]]}
                if isinstance(value, list) and len(value) > 1:
                    for number in range(len(value)):
                        yield spec | {key: [*members[:at], member | {field: value[:number] + value[number + 1 :]}, *members[at + 1 :]]}


def told(world: World, history: History) -> str:
    """A case in words that a person can follow."""
    lines = [yaml_of(world.specs[0])]
    if world.specs[1] != world.specs[0]:
        lines += ["then:", yaml_of(world.specs[1])]
    lines.append(f"window {world.window_s} s, accounts {world.accounts}")
    for number, phase in enumerate(history.phases):
        lines.append(f"phase {number}{'' if phase.tariff is None else f', with tariff {phase.tariff + 1}'}:")
        for key in ("backfills", "events", "amendments", "again"):
            lines += [f"  {key}: {member}" for member in getattr(phase, key)]
        lines.append(f"  end: {phase.end}")
    return "\n".join(lines)


def main() -> None:
    """Shrink the case of a seed and a profile."""
    seed, profile = int(sys.argv[1]), sys.argv[2]
    world = world_of(seed // CASES_PER_WORLD, profile)
    history = history_of(Chance(f"case {seed} {profile}"), world)
    if not failure(world, history):
        print("it does not fail (in these orders)")
        return
    world, history = shrunk(world, history)
    print(told(world, history))
    print(failure(world, history))


if __name__ == "__main__":
    main()
