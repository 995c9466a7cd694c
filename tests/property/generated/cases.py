"""One case: a world, a history in it, two deliveries and one all at once, and every check.

    run_case(seed, profile)     raises AssertionError
"""

from __future__ import annotations

from .chance import Chance
from .checks import check_accounts, check_arithmetic, check_costs, check_definition, check_invoiced, check_tallies
from .delivery import Delivery, Play, differences
from .histories import Close, History, history_of
from .oracle import Oracle
from .worlds import World, world_of

__all__ = ["CASES_PER_WORLD", "check_history", "run_case"]

CASES_PER_WORLD = 4  # reading a tariff costs as much as rating a history


def run_case(seed: int, profile: str) -> None:
    """One case of a profile (a name of worlds.PROFILES)."""
    world = world_of(seed // CASES_PER_WORLD, profile)
    chance = Chance(f"case {seed} {profile}")
    check_history(chance, world, history_of(chance, world))


def check_history(chance: Chance, world: World, history: History, play: Play | None = None) -> None:
    """Every check of one history. play: how the first delivery goes, to break it."""
    oracle = Oracle(world)
    closes = 0

    def at_barrier(delivery: Delivery, number: int) -> None:
        nonlocal closes
        if number:
            before = history.phases[number - 1].end
            oracle.end(before)
        phase = history.phases[number]
        oracle.phase(phase)
        closes += isinstance(phase.end, Close)
        last = number + 1 == len(history.phases)
        if last or isinstance(phase.end, Close):
            check_definition(delivery)
            check_costs(delivery, oracle)
            check_accounts(delivery, oracle)
            check_tallies(delivery)

    first = Delivery(chance, world, history, play or Play(), at_barrier).play()
    found = first.topic.present()
    check_arithmetic(found)
    assert first.counted == oracle.counted, f"{first.counted} events were counted, and {oracle.counted} should have been"
    if closes == 1:
        check_invoiced(first)
    other = Delivery(chance, world, history, Play()).play().topic.present()
    assert found == other, f"two deliveries:\n{differences(found, other)}"
    # All at once, and every account in one of two partitions.
    parts = [Play(at_once=True, owns=lambda account: account in ("a", "c")), Play(at_once=True, owns=lambda account: account not in ("a", "c"))]
    one, two = (Delivery(chance, world, history, part).play().topic.present() for part in parts)
    assert not one.keys() & two.keys(), f"two partitions wrote the same: {one.keys() & two.keys()}"
    assert found == one | two, f"two deliveries, one of them at once:\n{differences(found, one | two)}"

