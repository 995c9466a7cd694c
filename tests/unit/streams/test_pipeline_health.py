"""What a look at Kafka says: the arithmetic, with a clock that is passed in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from ratemill.schemas.pipeline import BEHIND_S, STALE_S, status_of
from ratemill.streams.pipeline import DeadLetterCount, Look, conservation, health_of
from ratemill.streams.progress import Counters, Progress

RAW, EVENTS, RATED = (TopicPartition(name, 0) for name in ("raw", "events", "rated"))
NOW = 1_800_000_000_000
LOOK = Look(
    now_ms=NOW,
    lanes={RAW: "normalize-raw-0", EVENTS: "rate-0", RATED: "index-0"},
    at={RAW: 10, EVENTS: 20, RATED: 30},
    ends={RAW: 15, EVENTS: 21, RATED: 30},
    firsts={RAW: NOW - 4_000, EVENTS: None, RATED: None},
    dead_letters=(1, 2),
)


def test_a_marker_alone_does_not_wait() -> None:
    health = health_of(LOOK, None)
    assert [(row.lane, row.lag_records, row.lag_s) for row in health.lanes] == [("normalize", 5, 4.0), ("rate", 0, 0.0), ("index", 0, 0.0)]
    assert (health.lag_records, health.lag_s, health.freshness_s, health.status) == (5, 4.0, 4.0, "ok")
    assert (health.dead_letters_last_hour, health.dead_letters_last_day) == (1, 2)


def test_what_an_open_transaction_hides_is_not_fresh() -> None:
    health = health_of(replace(LOOK, hidden={RATED: NOW - 100_000}), None)
    assert (health.lag_s, health.freshness_s, health.status) == (4.0, 100.0, "behind")


def test_one_lane_that_is_not_known_leaves_the_freshness_unknown() -> None:
    health = health_of(replace(LOOK, firsts={RAW: None, EVENTS: None}), None)
    assert (health.lag_s, health.freshness_s, health.status) == (0.0, None, "stale")
    assert [row.lag_s for row in health.lanes] == [0.0, 0.0, None]


def test_nothing_seen_is_nothing_known() -> None:
    health = health_of(Look(NOW, {}, {}, {}, {}), None)
    assert (health.lag_s, health.lag_records, health.freshness_s, health.conservation) == (None, None, None, None)


def test_throughput_is_between_two_looks() -> None:
    before = replace(LOOK, now_ms=NOW - 2_000, at={RAW: 4, EVENTS: 20})
    assert [row.records_per_s for row in health_of(LOOK, before).lanes] == [3.0, 0.0, None]
    assert [row.records_per_s for row in health_of(LOOK, LOOK).lanes] == [None] * 3  # no time has passed


def test_a_clock_that_is_ahead_makes_no_negative_age() -> None:
    assert health_of(replace(LOOK, firsts=dict.fromkeys(LOOK.lanes, NOW + 5_000)), None).lag_s == 0.0


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(0, "ok"), (BEHIND_S, "ok"), (BEHIND_S + 0.1, "behind"), (STALE_S, "behind"), (STALE_S + 0.1, "stale"), (None, "stale")],
)
def test_the_status_follows_the_freshness(seconds: float | None, status: str) -> None:
    assert status_of(seconds) == status


def test_events_are_conserved_over_the_lanes() -> None:
    lanes = {
        "normalize-raw-0": Progress("normalize-raw-0", sources={"raw": Counters(10, 8, 0, 2)}),
        "rate-0": Progress("rate-0", sources={"events": Counters(7, 5, 1, 1)}),  # one is under way
        "index-0": Progress("index-0", sources={"rated": Counters(4, 4, 0, 0)}),
    }
    kept = conservation(lanes)
    assert (kept.received, kept.counted, kept.duplicate, kept.dead_lettered) == (9, 5, 1, 3)
    assert (kept.balanced, kept.difference, kept.unbalanced) == (True, 0, [])


def test_a_lane_that_does_not_balance_is_named_and_two_do_not_make_up_for_each_other() -> None:
    lanes = {f"rate-{n}": Progress(f"rate-{n}", sources={"events": Counters(7, 7 + off, 0, 0)}) for n, off in ((0, 2), (1, -2), (2, 0))}
    kept = conservation(lanes)
    assert (kept.balanced, kept.difference, kept.unbalanced) == (False, 4, ["rate-0 from events", "rate-1 from events"])


def test_dead_letters_are_counted_by_the_minute_and_forgotten_after_a_day() -> None:
    count = DeadLetterCount()
    for minutes_ago, letters in ((0, 1), (59, 2), (61, 4), (1_439, 8), (1_441, 16)):
        count.add(NOW - minutes_ago * 60_000, letters)
    assert count.within(NOW) == (3, 15)
    assert count.within(NOW + 3_600_000) == (0, 7)
