"""Publishers on a target that fails as it is told to: nothing is forgotten before it was acknowledged, and nothing that fails stops the rest."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from ratemill.collectors.sdk import AsyncPublisher, BadInput, Event, Outcome, Publisher, Refused, SpoolFull, SpoolInUse
from ratemill.collectors.sdk.spool import Row, Spool


class Fake:
    """A target and its sender. deliver: what it does with rows; by default it acknowledges them."""

    def __init__(self, deliver: Callable[[Sequence[Row]], Outcome] | None = None) -> None:
        self.rows: list[Row] = []
        self._deliver = deliver
        self.closed = 0

    def connect(self) -> Fake:
        return self

    def deliver(self, rows: Sequence[Row]) -> Outcome:
        outcome = self._deliver(rows) if self._deliver else Outcome(list(rows), [])
        self.rows += outcome.done
        return outcome

    def close(self) -> None:
        self.closed += 1

    @property
    def bodies(self) -> Counter[bytes]:
        return Counter(line for row in self.rows for line in row.body.split(b"\n"))


def some(count: int, first: int = 0) -> list[Event]:
    return [Event(f"a{n % 3}", b"{%d}" % n) for n in range(first, first + count)]


def failing(*answers: Outcome | Exception) -> Callable[[Sequence[Row]], Outcome]:
    """Give these answers, then acknowledge."""
    left = list(answers)

    def deliver(rows: Sequence[Row]) -> Outcome:
        if not left:
            return Outcome(list(rows), [])
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return deliver


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def waiting(path: Path) -> int:
    spool = Spool(path)
    found: int = spool.waiting_events
    spool.close()
    return found


def test_what_is_put_is_delivered_once(path: Path) -> None:
    target = Fake()
    with Publisher(target, path, fsync=False) as publisher:
        publisher.put(some(1)[0])
        publisher.put_many(some(99, 1))
        publisher.put_many([])
        assert publisher.flush()
        assert publisher.metrics()[:3] == (100, 100, 0)
    assert target.bodies == {b"{%d}" % n: 1 for n in range(100)}
    assert (waiting(path), target.closed) == (0, 1)


@pytest.mark.parametrize("failure", [Outcome([], [], "not there", 0.01), RuntimeError("a mistake in a target")], ids=["unavailable", "mistake"])
def test_a_failure_is_tried_again_until_it_works(path: Path, failure: Outcome | Exception) -> None:
    target = Fake(failing(failure, failure))
    with Publisher(target, path, fsync=False, linger_s=0) as publisher:
        publisher.put_many(some(5))
        assert publisher.flush()
        assert (publisher.metrics().retries, publisher.metrics().failure) == (2, "")
    assert sum(target.bodies.values()) == 5


def test_what_was_acknowledged_of_a_round_that_failed_is_not_sent_again(path: Path) -> None:
    sent: list[int] = []

    def deliver(rows: Sequence[Row]) -> Outcome:
        sent.extend(row.seq for row in rows)
        return Outcome(list(rows[:1]), [], "the rest failed" if len(rows) > 1 else "", 0.01)

    with Publisher(Fake(deliver), path, fsync=False, linger_s=0.05) as publisher:
        publisher.put_many(some(3))
        assert publisher.flush()
    assert Counter(Counter(sent).values()) == {1: 1, 2: 1, 3: 1}


def test_a_target_that_is_away_loses_nothing_and_says_so(path: Path) -> None:
    with Publisher(Fake(lambda rows: Outcome([], [], "nobody is there")), path, fsync=False) as publisher:
        publisher.put_many(some(5))
        assert not publisher.flush(timeout=0.3)
        assert publisher.metrics().failure == "nobody is there"
        assert publisher.metrics().waiting_events == 5
        assert not publisher.close(timeout=0.1)
        assert not publisher.close(timeout=0.1)
    target = Fake()
    with Publisher(target, path, fsync=False) as publisher:
        assert publisher.flush()
    assert sum(target.bodies.values()) == 5


def test_flush_waits_for_what_was_put_before_it_only(path: Path) -> None:
    first, second = threading.Event(), threading.Event()

    def deliver(rows: Sequence[Row]) -> Outcome:
        first.set()
        if rows[0].body == b"{2}":
            second.wait(30)
        return Outcome(list(rows), [])

    publisher = Publisher(Fake(deliver), path, fsync=False, linger_s=0, round_bytes=1)
    publisher.put(Event("a", b"{1}"))
    first.wait(30)
    assert publisher.flush(timeout=30)
    publisher.put(Event("a", b"{2}"))
    assert not publisher.flush(timeout=0.1)
    second.set()
    assert publisher.close()


def test_refused_events_are_kept_with_the_reason_and_do_not_block(path: Path) -> None:
    def deliver(rows: Sequence[Row]) -> Outcome:
        refused = [Refused(row.account, "", "bad_time", "why", line) for row in rows for line in row.body.split(b"\n") if line == b"{3}"]
        return Outcome(list(rows), refused)

    with Publisher(Fake(deliver), path, fsync=False) as publisher:
        publisher.put_many(some(6))
        assert publisher.flush()
        assert publisher.metrics()[:2] == (6, 5)
        assert (publisher.metrics().refused_events, publisher.refused()) == (1, [Refused("a0", "", "bad_time", "why", b"{3}")])
        assert publisher.clear_refused(again=True) == 1
        assert publisher.flush()
        assert publisher.metrics().refused_events == 1
        assert publisher.clear_refused(again=False) == 1


def test_a_spool_that_is_full_refuses_until_there_is_room(path: Path) -> None:
    go = threading.Event()
    with Publisher(Fake(lambda rows: Outcome(list(rows), []) if go.is_set() else Outcome([], [], "later", 0.01)), path, spool_bytes=50) as publisher:
        publisher.put_many(some(10))
        with pytest.raises(SpoolFull):
            publisher.put_many(some(10, 10))
        go.set()
        assert publisher.flush()
        publisher.put_many(some(10, 10))
        assert publisher.flush()
        assert publisher.metrics().accepted_events == 20


def test_few_events_wait_for_more_and_many_do_not(path: Path) -> None:
    rounds: list[int] = []

    def deliver(rows: Sequence[Row]) -> Outcome:
        rounds.append(len(rows))
        return Outcome(list(rows), [])

    with Publisher(Fake(deliver), path, fsync=False, linger_s=60, round_bytes=300) as publisher:
        for n in range(4):
            publisher.put(Event("a", b"{%s}" % (b"%d" % n * 98)))
        deadline = time.monotonic() + 30
        while not rounds and time.monotonic() < deadline:
            time.sleep(0.005)
        assert rounds[:1] == [3]
        assert publisher.flush(), "a flush does not linger"


def test_an_event_too_large_for_any_record_is_refused(path: Path) -> None:
    with Publisher(Fake(), path, fsync=False) as publisher:
        with pytest.raises(BadInput, match="1,048,577 bytes"):
            publisher.put_many([*some(1), Event("a", b"{%s}" % (b"x" * ((1 << 20) - 1)))])
        assert publisher.metrics().accepted_events == publisher.metrics().waiting_events == 0


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":\n1}', b'{"a":\r1}', b"{}\n{}", b'"x"'])
def test_what_is_not_one_object_on_one_line_is_refused(path: Path, body: bytes) -> None:
    """It would share a record with others, and be taken for two of them."""
    with Publisher(Fake(), path, fsync=False) as publisher, pytest.raises(BadInput, match="not one JSON object on one line"):
        publisher.put(Event("a", body))


def test_a_closed_publisher_takes_nothing_and_can_still_be_asked(path: Path) -> None:
    publisher = Publisher(Fake(), path, fsync=False)
    publisher.put_many(some(3))
    assert publisher.close()
    assert publisher.metrics()[:2] == (3, 3)
    with pytest.raises(BadInput, match="closed"):
        publisher.put(some(1)[0])


def test_settings_that_cannot_work_leave_the_spool_free(path: Path) -> None:
    class Wrong(Fake):
        def connect(self) -> Fake:
            raise BadInput("no")

    with pytest.raises(BadInput):
        Publisher(Wrong(), path)
    with Publisher(Fake(), path), pytest.raises(SpoolInUse):
        Publisher(Fake(), path)


async def test_the_async_publisher_writes_groups(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    real = Spool.append

    def append(spool: Spool, events: Sequence[Event]) -> int:
        groups.append(len(events))
        found: int = real(spool, events)
        return found

    monkeypatch.setattr(Spool, "append", append)
    target = Fake()
    async with AsyncPublisher(target, path) as publisher:
        await asyncio.gather(*(publisher.put(event) for event in some(500)))
        assert publisher.metrics().accepted_events == 500
        assert await publisher.flush()
        assert (await publisher.refused(), await publisher.clear_refused(again=True)) == ([], 0)
    assert sum(groups) == sum(target.bodies.values()) == 500
    assert len(groups) < 10


async def test_what_one_caller_did_wrong_hurts_nobody_else(path: Path) -> None:
    target = Fake()
    async with AsyncPublisher(target, path, fsync=False) as publisher:
        events: list[Any] = [*some(3), Event("a", b"{%s}" % (b"x" * ((1 << 20) - 1))), *some(3, 3)]
        said = await asyncio.gather(*(publisher.put(event) for event in events), return_exceptions=True)
    assert [type(each) for each in said] == [type(None)] * 3 + [BadInput] + [type(None)] * 3
    assert target.bodies == {b"{%d}" % n: 1 for n in range(6)}


def test_metrics_for_prometheus(path: Path) -> None:
    from ratemill.collectors.sdk.metrics import PublisherCollector

    registry = CollectorRegistry()
    with Publisher(Fake(lambda rows: Outcome([], [], "away")), path, fsync=False) as publisher:
        registry.register(PublisherCollector(publisher.metrics))
        publisher.put_many(some(3))
        publisher.flush(timeout=0.3)
        text = generate_latest(registry).decode()
        publisher.close(timeout=0)
    assert "ratemill_collector_accepted_events_total 3.0" in text
    assert "ratemill_collector_waiting_events 3.0" in text
    assert "ratemill_collector_failing 1.0" in text
