"""What a seed says about a world: how large it is, how it is set up, and which faults come when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

__all__ = ["CASES", "FAULTS", "SIZES", "Fault", "Plan", "calm", "is_large", "plan_of"]

CASES = 400  # different traffics; what each must come to is computed once in each process
LARGE = 10  # one in so many is large, and so is its world; what that costs and finds: docs/simulation.md
SIZES = {False: (2, 6), True: (8, 22)}  # records of a traffic, by whether it is large

# Kind -> how often it is drawn, in proportion.
FAULTS = {
    "crash": 6,  # of a worker, behind one of its next steps; the disk stays
    "crash in a commit": 8,  # the same, counted from the next commit that it begins
    "crash while taking over": 4,  # the same, counted from the next lane that is started
    "lose disk": 2,  # a crash, and the disk is gone
    "stop": 4,  # SIGSTOP, shorter or longer than a session, then SIGCONT
    "stop in a commit": 5,
    "unanswered": 14,  # the next request of a kind fails, mostly the one that ends a transaction: it was done, will be done, or not
    "deaf": 4,  # a worker and the group's coordinator do not reach each other; all else goes on
    "cut": 2,  # a worker does not reach Kafka
    "leave": 3,  # SIGTERM, and later a start
    "join": 2,  # one worker more
    "rebalance": 2,  # without any reason
    "broker down": 2,
    "broker paused": 2,
    "elasticsearch down": 1,
    "elasticsearch paused": 1,
    "elasticsearch read-only": 1,
    "elasticsearch troubled": 2,  # 429, 503, 429 for single items, answers that do not fit
    "index deleted": 1,
    "noise": 5,  # requests to Kafka and Elasticsearch fail at random for a while
    "deliveries": 4,  # batches on their way to a lane are swapped, doubled or dropped for a while
    "compaction": 2,
}

_KINDS, _SUMS = tuple(FAULTS), tuple(accumulate(FAULTS.values()))

# What these do, they do at once, or with the next request: the world need not go on for longer.
BRIEF = frozenset(("unanswered", "join", "rebalance", "index deleted", "compaction"))


@dataclass(frozen=True)
class Fault:
    """One fault: when it begins, in seconds, whom it concerns, how long it lasts, and a number for whatever else is to be drawn."""

    kind: str
    at: float
    worker: int
    seconds: float
    number: int


@dataclass(frozen=True)
class Plan:
    """A world in numbers."""

    partitions: int
    workers: int
    case: int  # which traffic
    publishing_s: float  # how long it takes to publish it
    heal_s: float  # when all faults end
    commit_interval_s: float
    fetch_records: int  # in one answer
    batch_bytes: int  # of a producer: small ones need many batches
    flushes: float  # how likely a write to a disk is followed by a flush
    slow_markers: bool
    books: tuple[float, ...]  # when a price book is published; the last one is that of the oracle
    faults: tuple[Fault, ...]
    prepares: bool  # workers put the index template in place; where nothing can go wrong with it, in one world of four
    idle_stretch: float = 10.0

    def __str__(self) -> str:
        lines = [
            f"{self.partitions} partitions, {self.workers} workers, traffic {self.case} within {self.publishing_s:.1f} s, "
            f"healed at {self.heal_s:.1f} s",
            f"commits every {self.commit_interval_s:g} s, {self.fetch_records} records a fetch, batches of {self.batch_bytes} bytes, "
            f"flushes {self.flushes:.2f}, slow markers {self.slow_markers}, price books at {', '.join(f'{at:.1f}' for at in self.books)}",
        ]
        lines += [f"{f.at:6.2f} s  {f.kind}, worker {f.worker}, {f.seconds:.2f} s, {f.number}" for f in self.faults]
        return "\n".join(lines)


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(f"plan {seed}")
    draw = random.random
    case = random.randrange(CASES)
    large = is_large(case)
    partitions = random.choices((1, 2, 3), (84, 14, 2))[0] if large else 1
    workers = random.choices((1, 2, 3), (15, 73, 12) if large else (25, 73, 2))[0]
    publishing_s = 1 + 3 * draw()
    count = random.choices((1, 2, 3, 4, 6), (30, 30, 20, 15, 5) if large else (60, 30, 10, 0, 0))[0]
    faults = sorted((_fault(random, publishing_s + 1.5, workers) for _ in range(count)), key=_time_of)
    late = draw() < 0.25
    books = (draw() * publishing_s, publishing_s * draw() + 2) if draw() < 0.2 else (publishing_s * draw(),) if late else (0.0,)
    return Plan(
        partitions=partitions,
        workers=workers,
        case=case,
        publishing_s=publishing_s,
        heal_s=max([publishing_s, *(f.at + f.seconds for f in faults)]) + 0.5,
        commit_interval_s=random.choice((0.3, 0.5, 1.0, 1.0)),
        fetch_records=random.choice((2, 5, 50, 50)),
        batch_bytes=random.choice((900, 4_000, 1 << 19)),
        flushes=random.choice((0.0, 0.1, 0.5)),
        slow_markers=draw() < 0.2,
        books=tuple(sorted(books)),
        faults=tuple(faults),
        prepares=draw() < 0.25 or any(fault.kind.startswith(("elasticsearch", "noise")) for fault in faults),
    )


def is_large(case: int) -> bool:
    """Whether a traffic, and with it the world, is large."""
    return case % LARGE == 0


def _time_of(fault: Fault) -> float:
    return fault.at


def _fault(random: Random, within_s: float, workers: int) -> Fault:
    kind = random.choices(_KINDS, cum_weights=_SUMS)[0]
    seconds = random.choice((0.3, 1.0, 2.5, 6.5)) * (0.5 + random.random())
    if kind in BRIEF:
        seconds = min(seconds, 1.0)
    return Fault(kind, within_s * random.random(), random.randrange(workers), seconds, random.randrange(1 << 30))


def calm(plan: Plan) -> Plan:
    """The same world without faults."""
    return replace(plan, faults=(), heal_s=plan.publishing_s + 0.5, slow_markers=False)
