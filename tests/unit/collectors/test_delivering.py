"""Events of a collector's own list over a target of the SDK: all acknowledged, or an error, and then they are still on the list."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from harness.reports import AwsReport, folder, real_rows
from ratemill.collectors.delivering import Delivering
from ratemill.collectors.reports.run import Collector
from ratemill.collectors.reports.state import ReportState
from ratemill.collectors.reports.stores import Folder
from ratemill.collectors.sdk.spool import Refused, Row
from ratemill.collectors.sdk.targets import Outcome
from ratemill.schemas.decoders.registry import decode
from ratemill.schemas.errors import RatemillError, Unavailable
from ratemill.schemas.usage_event import UsageEvent

EVENT = UsageEvent("acme", "s", "line:1:1", "sku", 1_764_000_000_000_000_000, Decimal("0.50"), "GB", "aws", dimensions='{"a":"b"}')


class Target:
    """Answers as it is told to."""

    def __init__(self) -> None:
        self.answer: Callable[[Sequence[Row]], Outcome] = lambda rows: Outcome(list(rows), [])
        self.rows: list[Row] = []
        self.closed = False

    def connect(self) -> Target:
        return self

    def deliver(self, rows: Sequence[Row]) -> Outcome:
        self.rows += rows
        return self.answer(rows)

    def close(self) -> None:
        self.closed = True


def test_an_event_leaves_as_what_it_is_and_under_the_name_of_its_backfill() -> None:
    target = Target()
    Delivering(target)([EVENT], "report-x")
    (row,) = target.rows
    assert (row.account, row.backfill, row.events) == ("acme", "report-x", 1)
    assert decode(row.body, [("ratemill-backfill", b"report-x")], "cloudevents") == [
        UsageEvent(**{name: getattr(EVENT, name) for name in EVENT.__struct_fields__ if name != "backfill"}, backfill="report-x")
    ]


FAILURES: dict[str, tuple[Callable[[Sequence[Row]], Outcome], type[RatemillError], str]] = {
    "nobody there": (lambda rows: Outcome([], [], "Kafka at x: timed out"), Unavailable, "timed out"),
    "half of it": (lambda rows: Outcome(list(rows[:1]), [], "broken"), Unavailable, "broken"),
    "one refused": (lambda rows: Outcome(list(rows), [Refused("acme", "", "bad_quantity", "no", rows[0].body)]), RatemillError, "bad_quantity: no"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_is_not_acknowledged_is_sent_again(tmp_path: Path, failure: str) -> None:
    answer, error, said = FAILURES[failure]
    AwsReport(folder(tmp_path / "b")).publish("v0", real_rows()[:30])
    target = Target()
    state = ReportState(tmp_path / "state")
    collector = Collector(Folder(tmp_path / "b"), "aws-cur", "hourly", state, Delivering(target), lambda: 1_700_000_000)
    good, target.answer = target.answer, answer
    with pytest.raises(error, match=said):
        collector.run()
    first, target.rows, target.answer = target.rows, [], good
    collector.run()
    assert [row.body for row in target.rows] == [row.body for row in first] != []
    assert {json.loads(row.body)["id"].partition(":")[0] for row in first} == {"line"}
    assert state.count_waiting() == 0
    state.close()
