"""The pure parts of the programs that measure speed, memory and scale: what they count, and what they must not overlook."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from ratemill.bench.fill import packed
from ratemill.bench.flat_cost import Step, decades, groups_of, touched
from ratemill.bench.gaps import longest_gap, settled, speedup
from ratemill.bench.in_process import Rating, disk_bytes, memory, window_event
from ratemill.bench.latency_by_load import delays_in, percentiles
from ratemill.bench.month_items import MonthItems
from ratemill.bench.oracle import latest
from ratemill.bench.paced import marker_prefix
from ratemill.bench.shape import Shape, events
from ratemill.bench.sink import Way, revisions, shares
from ratemill.bench.state_size import Size, per_thing
from ratemill.schemas.decoders.registry import decode_record
from ratemill.schemas.limits import DEFAULT_LIMITS
from ratemill.schemas.usage_event import UsageEvent


def test_a_packed_record_holds_the_events_in_their_order() -> None:
    values = [value for chunk in events(Shape(50), 1_800_000_000) for _, value in chunk]
    alone = [event for value in values for event in decode_record("cloudevents", value, (), DEFAULT_LIMITS)]
    assert list(decode_record("cloudevents", packed(values), (), DEFAULT_LIMITS)) == alone
    assert all(isinstance(event, UsageEvent) for event in alone)


def test_a_topic_is_taken_as_filled_only_with_the_records_that_its_events_make() -> None:
    assert [records for records in range(20) if Shape(10).filled(records)] == [10]
    assert [records for records in range(20) if Shape(10, partitions=2, per_record=4).filled(records)] == [3, 4, 5]


def test_topics_of_other_shapes_have_other_names() -> None:
    shapes = [Shape(10), Shape(10, seed=8), Shape(11), Shape(10, partitions=8), Shape(10, per_record=2)]
    assert len({shape.name for shape in shapes}) == len(shapes)


def test_the_longest_gap_is_that_between_two_commits_of_one_lane() -> None:
    commits = {"rate-0": [1.0, 2.0, 3.0, 9.0, 10.0], "rate-1": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5]}
    assert longest_gap(commits, 0, 10) == (6.0, "rate-0")
    assert longest_gap({"rate-1": commits["rate-1"]}, 1.5, 9.5) == (1.0, "rate-1")


def test_a_gap_counts_from_where_it_began_and_up_to_the_end_of_the_span() -> None:
    assert longest_gap({"a": [1.0, 8.0]}, 2, 4) == (3.0, "a")
    assert longest_gap({"a": [1.0, 8.0]}, 4, 9) == (7.0, "a")


def test_a_lane_that_stopped_for_good_or_never_began_is_not_overlooked() -> None:
    assert longest_gap({"a": [1.0, 2.0], "b": [1.0, 6.0, 11.0, 19.0, 20.0]}, 0, 20) == (18.0, "a")
    assert longest_gap({"a": []}, 5, 20) == (15.0, "a")


def _log(*said: tuple[str, object]) -> bytes:
    return b"\n".join(json.dumps({"event": event, ("lanes" if event == "assigned" else "lane"): what}).encode() for event, what in said) + b"\n"


def test_a_worker_has_settled_when_it_owns_all_of_its_latest_assignment() -> None:
    first = [("assigned", ["rate-0", "rate-1"]), ("partition_owned", "rate-0")]
    assert settled(b"") is None
    assert settled(_log(*first)) is None
    whole = _log(*first, ("partition_owned", "rate-1"))
    assert settled(whole) == 2
    assert settled(whole + _log(("assigned", ["rate-1"]))) is None  # owned before the rebalance: no longer
    assert settled(whole + _log(("assigned", ["rate-1"]), ("partition_owned", "rate-1"))) == 1
    assert settled(whole + b'{"event": "assigned", "lan') == 2  # a line that is being written


def test_two_workers_are_worth_two_when_an_event_costs_the_same() -> None:
    assert speedup(50_000, 50_000, 2) == 2
    assert speedup(50_000, 40_000, 2) == pytest.approx(1.6)


def test_delays_are_those_of_the_markers_of_one_run() -> None:
    of = marker_prefix(7)
    values = [b'{"BillingAccountId":"%b%06d-%d","x":1}' % (of.encode(), number, at) for number, at in ((3, 500), (4, 1_500_000_500))]
    others = [b'{"BillingAccountId":"account-0001"}', b'{"BillingAccountId":"%b000009-5"}' % marker_prefix(8).encode()]
    assert delays_in([*others, *values], of, 2_000_000_500) == {3: 2.0, 4: 0.5}


def test_a_marker_that_never_came_is_later_than_any() -> None:
    found = percentiles([1.0] * 998 + [2.0, math.inf])
    assert (found.p50, found.p99, found.p999, found.longest) == (1.0, 1.0, 2.0, math.inf)


def test_what_one_thing_more_needs_leaves_out_what_was_there_before() -> None:
    sizes = [Size("ids", 10, 5_000, 1_000, 900, 300, 0.0, 0.0, 0), Size("ids", 30, 9_000, 1_020, 910, 900, 0.0, 0.0, 0)]
    assert per_thing(sizes) == [(100.0, 90.0, 30.0), (1.0, 0.5, 30.0)]


def test_a_commit_touches_as_many_windows_however_many_are_open() -> None:
    for windows in (1_000, 10_000, 123_456, 1_000_000):
        opened = {(number % groups_of(windows), number // groups_of(windows)) for number in range(windows)}
        for commit in (0, 5):
            its = touched(windows, commit)
            assert len({group for group, _ in its}) == 1_000
            assert opened >= {*its}
    assert not {*touched(100_000, 0)} & {*touched(100_000, 1)}
    assert max(touched(1_000_000, 0))[0] > 0.95 * groups_of(1_000_000)  # over all of them


def test_steps_are_told_apart_by_what_was_counted_before() -> None:
    steps = [Step(events, 1.0, 1.0) for events in (50_000, 100_000, 350_000, 1_000_000, 9_000_000)]
    assert [(name, len(its)) for name, its in decades(steps)] == [("10^4 to 10^5", 1), ("10^5 to 10^6", 2), ("10^6 to 10^7", 2)]


def test_the_share_of_the_limit_is_that_of_the_medians() -> None:
    ways = [Way("limit", 100, wall, 1, 2, []) for wall in (1.0, 2.0, 50.0)] + [Way("sink", 100, wall, 1, 4, []) for wall in (4.0, 4.0, 1.0)]
    assert shares(ways) == {"limit": (1.0, 1.0), "sink": (0.5, 0.5)}


def test_each_turn_is_a_newer_revision_of_the_same_line_items() -> None:
    items = next(MonthItems(30_000).chunks(40))[:40]
    turns = list(revisions(items, 3))
    newest = latest([item for turn in turns for item in turn])
    assert (newest.written, len(newest.items)) == (120, 40)
    assert {item.revision for item in newest.items.values()} == {4}


def test_each_number_is_a_window_of_its_own_and_its_identities_are_remembered(tmp_path: Path) -> None:
    rating, before = Rating(tmp_path), memory()
    assert before.rss > 0
    assert rating.count_all(window_event(number % 25, number // 25, 1_800_000_000, number) for number in range(500)) >= 500
    with pytest.raises(ValueError, match="events count"):
        rating.count_all([window_event(7, 0, 1_800_000_000, 7)])
    rating.close()
    assert disk_bytes(tmp_path) > 500 * 24
