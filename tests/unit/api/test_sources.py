""""No usage" told from "silent": what is counted, what is kept, and what is said of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from ratemill.api.sources import store
from ratemill.api.sources.states import EXPECTED_S, Hour, is_silent, table_of
from ratemill.api.sources.store import KEPT_S, OTHERS, Sources
from ratemill.api.sources.view import read_completeness
from ratemill.schemas.arrivals import Arrivals
from ratemill.schemas.errors import BadInput
from ratemill.schemas.limits import DEFAULT_LIMITS
from ratemill.store.lease import Lease
from ratemill.streams.arrivals import count_records
from sqlalchemy import Engine

HOUR = 3_600
NOON = 1_795_003_200  # 2026-11-18T12:00:00Z


@pytest.fixture
def sources(engine: Engine) -> Sources:
    return Sources(engine)


@pytest.fixture
def lease(engine: Engine) -> Lease:
    found = Lease(engine, "watch", "me", 1e9)
    assert found.take()
    return found


def states(known: dict[int, Hour], hours: int = 1, through: int = NOON + 100 * HOUR, declared: tuple[str, ...] = ()) -> list[str]:
    """States of the source s from noon on; hours are counted from it."""
    seen = {"s": {NOON + number * HOUR: its for number, its in known.items()}}
    table = table_of(seen, declared, NOON, NOON + hours * HOUR, through)
    return [state for state, _ in table.rows.get("s", [])]


HEARD = Hour(arrivals=1)
USED = Hour(events=3, arrivals=3)
BEAT = Hour(heartbeats=1)


def test_usage_no_usage_and_silence() -> None:
    assert states({-1: USED, 0: USED}) == ["ok"]
    assert states({0: Hour(events=1)}) == ["ok"]  # it came later
    assert states({0: HEARD}) == ["no usage"]  # what arrived was usage of another hour
    assert states({0: BEAT}) == ["no usage"]
    assert states({-1: USED}) == ["silent"]
    assert states({-1: USED, 0: USED, 2: BEAT, 3: Hour(events=1)}, hours=5) == ["ok", "silent", "no usage", "ok", "silent"]


def test_a_source_is_expected_for_a_week_or_when_it_is_declared() -> None:
    week = EXPECTED_S // HOUR
    assert states({-week: BEAT}) == ["silent"]
    assert states({-week - 1: BEAT}) == []
    assert states({-week: BEAT}, hours=2) == ["silent", "not expected"]
    assert states({1: USED}, hours=2) == ["not expected", "ok"]
    assert states({}, declared=("s",)) == ["silent"]
    assert states({}) == []


def test_an_hour_is_pending_until_its_usage_can_have_come_and_is_counted() -> None:
    for through in (0, NOON, NOON + HOUR, NOON + 2 * HOUR - 1):
        assert states({-1: USED}, through=through) == ["pending"]
        assert states({0: BEAT}, through=through) == ["pending"]
        assert states({0: USED}, through=through) == ["ok"]
    assert states({-1: USED}, through=NOON + 2 * HOUR) == ["silent"]


def test_silent_now_is_by_what_is_counted() -> None:
    assert not is_silent(NOON, NOON + HOUR)
    assert is_silent(NOON, NOON + HOUR + 1)
    assert not is_silent(NOON, NOON - HOUR)  # we are behind
    assert is_silent(None, NOON)


def batch(*events: tuple[str, int, int], through: int = 0, **positions: int) -> Arrivals:
    """Events (source, time of usage, arrival)."""
    found = Arrivals(positions={(topic, 0): offset for topic, offset in positions.items()}, through=through)
    for event in events:
        found.add(*event)
    return found


def test_counts_add_up_and_go_on_where_they_were(sources: Sources, lease: Lease) -> None:
    now = NOON + 2 * HOUR
    sources.add(lease, batch(("s", NOON + 5, NOON + 9), ("s", NOON + 6, NOON + HOUR), ("t", NOON, NOON), raw=7), now)
    assert sources.positions() == {("raw", 0): 7}
    assert sources.through() == 0
    sources.add(lease, batch(("s", NOON + HOUR - 1, NOON + 7), raw=9, other=1, through=now), now)
    assert sources.positions() == {("raw", 0): 9, ("other", 0): 1}
    assert sources.through() == now
    found = sources.hours(NOON, now, None)
    assert found == {
        "s": {NOON: Hour(3, 2, 0, NOON + HOUR), NOON + HOUR: Hour(0, 1, 0, 0)},
        "t": {NOON: Hour(1, 1, 0, NOON)},
    }  # fmt: skip
    assert sources.hours(NOON, now, "t") == {"t": found["t"]}
    assert sources.last_seen(now) == {"s": NOON + HOUR, "t": NOON}


def test_a_heartbeat_is_no_event(sources: Sources) -> None:
    sources.heartbeat("s", NOON + 5)
    sources.heartbeat("s", NOON + 6)
    assert sources.hours(NOON, NOON + HOUR, None) == {"s": {NOON: Hour(0, 0, 2, 0)}}
    assert sources.last_seen(NOON + 10) == {"s": NOON + 6}
    with pytest.raises(BadInput):
        sources.heartbeat("a\0", NOON)


def test_heartbeats_and_counts_at_once_are_all_kept(sources: Sources, lease: Lease) -> None:
    def beat(number: int) -> None:
        sources.heartbeat("s", NOON) if number % 2 else sources.add(lease, batch(("s", NOON, NOON)), NOON)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(beat, range(60)))
    assert sources.hours(NOON, NOON + 1, None)["s"][NOON] == Hour(30, 30, 30, NOON)


def test_there_are_so_many_sources_and_one_for_all_others(sources: Sources, lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_SOURCES", 3)
    sources.add(lease, batch(*((f"s{number}", NOON, NOON) for number in range(5))), NOON)
    sources.heartbeat("s9", NOON)
    sources.heartbeat("s1", NOON)
    found = {name: hours[NOON] for name, hours in sources.hours(NOON, NOON + HOUR, None).items()}
    assert found.keys() == {"s0", "s1", "s2", OTHERS}
    assert found[OTHERS] == Hour(2, 2, 1, NOON)
    assert sum(its.events for its in found.values()) == 5


def test_long_names_are_told_from_each_other(sources: Sources, lease: Lease) -> None:
    long = "\U00010348" * 1_000
    sources.add(lease, batch((long + "a", NOON, NOON), (long + "b", NOON, NOON)), NOON)
    assert len(sources.hours(NOON, NOON + HOUR, None)) == 2
    assert sources.hours(NOON, NOON + HOUR, long + "a").keys() < sources.hours(NOON, NOON + HOUR, None).keys()


def test_what_is_old_is_deleted(sources: Sources, lease: Lease) -> None:
    now = NOON + KEPT_S + HOUR
    sources.add(lease, batch(("s", NOON, NOON), ("t", now, now)), NOON)
    sources.add(lease, batch(("s", now, now)), now)
    sources.heartbeat("gone", NOON)
    sources.sweep(lease, now)
    assert sources.last_seen(NOON).keys() == {"s", "t"}
    assert list(sources.hours(NOON, now + 1, None)["s"]) == [now]
    sources.add(lease, batch(("s", NOON, now)), now)  # usage that is too old to have an hour
    assert sources.hours(now, now + 1, "s")["s"][now] == Hour(1, 2, 0, now)
    assert sources.hours(NOON, NOON + 1, "s") == {}


def test_what_is_shown(sources: Sources, lease: Lease) -> None:
    assert read_completeness(sources, ["d"], None, None, None, NOON).counted_through is None
    sources.add(lease, batch(("s", NOON - 3 * HOUR, NOON - 3 * HOUR), through=NOON, raw=1), NOON)
    found = read_completeness(sources, ["d"], "2026-11-18T09:00:00Z", "2026-11-18T12:00:00Z", None, NOON)
    assert found.counted_through == "2026-11-18T12:00:00Z"
    shown = {row.source: [(each.hour[11:16], each.state, each.events, each.last_arrival) for each in row.hours] for row in found.sources}
    assert shown["s"] == [("09:00", "ok", 1, "2026-11-18T09:00:00Z"), ("10:00", "silent", 0, None), ("11:00", "pending", 0, None)]
    assert [state for _, state, _, _ in shown["d"]] == ["silent", "silent", "pending"]
    for since, until in (("2026-11-18T12:00:00Z", "2026-11-18T09:00:00Z"), ("2026-11-01T00:00:00Z", None), ("2026-02-30T00:00:00Z", None)):
        with pytest.raises(BadInput):
            read_completeness(sources, [], since, until, None, NOON)


# -- from raw records ----------------------------------------------------------------------------------------------------


def record(value: bytes, timestamp: int = NOON * 1_000, headers: tuple[Any, ...] = ()) -> Any:
    return SimpleNamespace(value=value, headers=headers, timestamp=timestamp)


EVENT = (
    b'{"specversion": "1.0", "id": "%s", "source": "%s", "type": "usage", "subject": "acme", "time": "2026-11-18T11:59:59Z", '
    b'"data": {"sku": "a", "quantity": 1, "unit": "h"}}'
)


def counted(provider: str, *records: Any) -> Arrivals:
    found = Arrivals()
    count_records(found, provider, "usage.raw", records, DEFAULT_LIMITS, NOON + 5)
    return found


def test_events_are_counted_by_source_and_hour_however_they_are_packed() -> None:
    one, two = EVENT % (b"1", b"s"), EVENT % (b"2", b"t")
    both = record(b"[" + one + b"," + two + b"]", headers=(("content-type", b"application/cloudevents-batch+json"),))
    found = counted("cloudevents", record(one), record(one), both, record(b"no event"), record(one[:-2]))
    assert found.usage == {("s", NOON - HOUR): 3, ("t", NOON - HOUR): 1}
    assert found.arrived == {("s", NOON): 3, ("t", NOON): 1}
    assert found.latest == {("s", NOON - HOUR): NOON, ("t", NOON - HOUR): NOON}


def test_a_time_that_a_producer_made_up_is_ours_instead() -> None:
    event = EVENT % (b"1", b"s")
    for timestamp in (-1, (NOON + 6) * 1_000, 2**60):
        assert counted("cloudevents", record(event, timestamp)).latest == {("s", NOON - HOUR): NOON + 5}


def test_usage_of_a_provider_has_the_topic_as_its_source() -> None:
    usage = b'{"id": "1", "usage_timestamp": "2026-11-18T11:00:00Z", "usage": {"type": "a", "quantity": 1}, "source": {"id": "x", "account": "acme"}}'
    found = counted("aws", record(usage, headers=(("ratemill-format", b"usage-record"),)))
    assert found.usage == {("usage.raw", NOON - HOUR): 1}
