"""Where partitions live: all of them once, equal numbers together, shares equal, and few move when a worker comes or goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import pytest
from ratemill.streams.assignor import assignor_for, homes, spread

TOGETHER = frozenset({"usage.events", "usage.raw.direct"})
Homes = Callable[[Sequence[bytes], Sequence[int]], list[int]]


def dealt(workers: Sequence[bytes], numbers: Sequence[int]) -> list[int]:
    """What `homes` must not be: in turn."""
    return [number % len(workers) for number in numbers]


def named(count: int, job: str = "shop") -> list[bytes]:
    return sorted(f"{job}-worker-{number}".encode() for number in range(100, 100 + count))


def moved(rule: Homes, before: list[bytes], after: list[bytes], partitions: int) -> int:
    """How many partitions are elsewhere afterwards, beyond those that have to be."""
    numbers = range(partitions)
    old, new = rule(before, numbers), rule(after, numbers)
    stay = [before[old[number]] == after[new[number]] for number in numbers]
    must = partitions - sum(min(Counter(old)[before.index(name)], Counter(new)[after.index(name)]) for name in set(before) & set(after))
    return partitions - sum(stay) - must


@pytest.mark.parametrize("seed", range(40))
def test_everything_goes_to_one_who_reads_it(seed: int) -> None:
    random = Random(seed)
    partitions = {"usage.events": 24, "usage.raw.direct": 24, "usage.raw.aws": random.randint(1, 30), "usage.rated": 24}
    everything = list(partitions)
    subscriptions = {
        f"member-{number}": random.choice([everything, everything, ["usage.rated"], ["usage.raw.aws"], ["usage.events", "usage.raw.direct"]])
        for number in range(random.randint(1, 9))
    }
    names = {member: f"{random.random()}".encode() for member in subscriptions}
    shares = spread({topic: range(count) for topic, count in partitions.items()}, subscriptions, names, TOGETHER)
    assert shares.keys() == subscriptions.keys()
    assert all(set(topics) <= set(subscriptions[member]) for member, topics in shares.items())
    for topic, count in partitions.items():
        held = [number for topics in shares.values() for number in topics.get(topic, [])]
        readers = [member for member, read in subscriptions.items() if topic in read]
        assert sorted(held) == (list(range(count)) if readers else [])
        sizes = [len(shares[member].get(topic, [])) for member in readers] or [0]
        assert max(sizes) - min(sizes) <= 1
    assert all(topics.get("usage.events") == topics.get("usage.raw.direct") for topics in shares.values())
    # Member ids are new after each start, and come in any order: the names say where everything is.
    others = {f"other-{member}": read for member, read in reversed(subscriptions.items())}
    again = spread({topic: set(range(count)) for topic, count in partitions.items()}, others, {f"other-{m}": n for m, n in names.items()}, TOGETHER)
    assert again == {f"other-{member}": topics for member, topics in shares.items()}


def test_who_reads_half_of_what_belongs_together_gets_none_of_it() -> None:
    topics = {"usage.events": range(4), "usage.raw.direct": range(4)}
    shares = spread(topics, {"half": ["usage.events"], "whole": list(topics)}, {}, TOGETHER)
    assert shares == {"half": {}, "whole": {topic: [0, 1, 2, 3] for topic in topics}}
    assert spread(topics, {"half": ["usage.events"], "other": ["usage.raw.direct"]}, {}, TOGETHER) == {"half": {}, "other": {}}


def test_few_partitions_move_when_a_worker_comes_or_goes() -> None:
    def worst(rule: Homes) -> list[float]:
        """Of ten installations with 64 partitions, on average: partitions that move although they need not, from n workers to one more or less."""
        changes = [(named(count, job), count) for job in map(str, range(10)) for count in (2, 3, 4, 8, 15)]
        more = [moved(rule, workers, sorted([*workers, b"one-more"]), 64) for workers, _ in changes]
        fewer = [moved(rule, workers, workers[1:], 64) for workers, _ in changes]
        return [sum(more) / len(more), sum(fewer) / len(fewer)]

    assert max(worst(homes)) < 4
    assert min(worst(dealt)) > 20


def test_kafka_gets_it_in_its_own_form() -> None:
    class Cluster:
        def partitions_for_topic(self, topic: str) -> set[int] | None:
            return {"usage.events": {0, 1, 2, 3}, "usage.raw.direct": {0, 1, 2, 3}}.get(topic)

    kinds = [assignor_for(name, TOGETHER) for name in ("a", "b")]
    members = {f"id-{at}": kind.metadata([*sorted(TOGETHER), "unknown"]) for at, kind in enumerate(kinds)}
    given = kinds[0].assign(Cluster(), members)  # type: ignore[arg-type]
    held = {member: dict(one.assignment) for member, one in given.items()}
    assert sorted(number for topics in held.values() for number in topics["usage.events"]) == [0, 1, 2, 3]
    assert all(topics["usage.events"] == topics["usage.raw.direct"] and len(topics["usage.events"]) == 2 for topics in held.values())
    assert given == kinds[1].assign(Cluster(), members)  # type: ignore[arg-type]
