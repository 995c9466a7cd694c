"""From a seed to a schedule: which faults hit when and for how long. The same seed gives the same schedule, on any machine."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["KINDS", "SESSION_TIMEOUT_S", "Fault", "Plan", "draw"]

SESSION_TIMEOUT_S = 3.0  # of the consumer group, here
QUIET_BEFORE_S = 4.0  # usage flows undisturbed first, so that every fault hits in the middle
GAP_S = 5.0  # between the beginnings of two faults, on average


class Kind(NamedTuple):
    """A kind of fault: how often it is drawn, how long it lasts, and what of the world it uses up while it lasts."""

    weight: int
    lasts_s: tuple[float, float]
    domain: str  # one fault of a domain at a time: with a broker down, another one down would be another experiment


KINDS: Mapping[str, Kind] = {
    "worker-kill": Kind(3, (0, 0), "worker"),
    "worker-kill-in-commit": Kind(3, (0, 0), "worker"),
    "worker-term": Kind(2, (0, 0), "worker"),
    "worker-stop": Kind(3, (SESSION_TIMEOUT_S * 1.5, SESSION_TIMEOUT_S * 3), "worker"),  # beyond its session: a zombie
    "worker-stop-in-commit": Kind(2, (SESSION_TIMEOUT_S * 1.5, SESSION_TIMEOUT_S * 3), "worker"),  # it wakes up and goes on writing
    "worker-pause": Kind(1, (0.3, SESSION_TIMEOUT_S * 0.6), "worker"),  # within its session
    "worker-join": Kind(2, (2, 8), "worker"),
    "double-rebalance": Kind(2, (1, 4), "worker"),  # one dies, another joins while the partitions are being restored
    "disk-loss": Kind(2, (0, 0), "worker"),
    "broker-kill": Kind(2, (1, 6), "kafka"),
    "broker-restart": Kind(1, (0, 0), "kafka"),
    "broker-pause": Kind(1, (1, 8), "kafka"),
    "net-delay": Kind(1, (3, 8), "kafka"),
    "net-blackhole": Kind(2, (2, 10), "kafka"),
    "net-reset": Kind(2, (0.5, 4), "kafka"),
    "net-drop-answers": Kind(2, (1, 8), "kafka"),
    "es-kill": Kind(1, (1, 6), "elasticsearch"),
    "es-pause": Kind(1, (2, 10), "elasticsearch"),
    "es-429": Kind(1, (2, 8), "elasticsearch"),
    "es-partial": Kind(2, (3, 8), "elasticsearch"),
    "es-drop-answers": Kind(2, (2, 8), "elasticsearch"),
    "es-read-only": Kind(1, (2, 8), "elasticsearch"),
    "new-prices": Kind(1, (0, 0), "prices"),
}


class Fault(NamedTuple):
    """One fault: when it begins (seconds after the traffic), what it is, how long it lasts, and two draws that choose its victim and detail."""

    at_s: float
    kind: str
    lasts_s: float
    which: float  # 0 to 1: the victim among those that live then
    detail: float  # 0 to 1


class Plan(NamedTuple):
    """Everything that a seed decides."""

    seed: int
    seconds: float
    brokers: int  # 1, or 3 with replication 3
    workers: int  # 2 to 4
    faults: list[Fault]


def draw(seed: int, seconds: float, brokers: int = 0) -> Plan:
    """The plan of a seed. seconds: how long faults hit. brokers: 0 lets the seed decide; each sixth has three."""
    r = random.Random(f"chaos {seed}")
    brokers = brokers or (3 if seed % 6 == 0 else 1)
    workers = r.randint(2, 4)
    names = sorted(KINDS)
    faults: list[Fault] = []
    free_at: dict[str, float] = {}
    at = QUIET_BEFORE_S
    while at < seconds - 1:
        kind = r.choices(names, [KINDS[name].weight for name in names])[0]
        its = KINDS[kind]
        lasts = min(r.uniform(*its.lasts_s), seconds - at)
        # All is drawn before it is decided whether the fault fits, so that what follows does not hang on that.
        # A clean stop of the only broker can lose transaction markers of its own (docs/reliability.md, "Limits"); kill -9 does not.
        kind = "broker-kill" if kind == "broker-restart" and brokers == 1 else kind
        fault = Fault(round(at, 2), kind, round(lasts, 2), round(r.random(), 6), round(r.random(), 6))
        at += r.uniform(0.2, 2 * GAP_S - 0.2) * min(1.0, seconds / 30)
        if fault.at_s >= free_at.get(its.domain, 0.0):
            faults.append(fault)
            free_at[its.domain] = fault.at_s + fault.lasts_s + 1.0
    return Plan(seed, seconds, brokers, workers, faults)
