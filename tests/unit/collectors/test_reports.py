"""Reports that replace each other: whatever is published again, and wherever the collector dies, what counts is the last version.

What was delivered is added up as a pipeline does that counts each id once (`counted`), and must be what the rows of the last version say
(`added_up`).
"""

from __future__ import annotations

import gzip
import os
import random
import re
import signal
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from harness.reports import AwsReport, Row, added_up, counted, folder, real_rows
from ratemill.collectors.reports import state as state_module
from ratemill.collectors.reports.lines import Unreadable
from ratemill.collectors.reports.run import STEPS, Collector, Told
from ratemill.collectors.reports.state import ReportState
from ratemill.collectors.reports.stores import Folder
from ratemill.schemas.errors import BadInput, NewerSchema, Unavailable
from ratemill.schemas.quantity import plain_quantity
from ratemill.schemas.times import format_time
from ratemill.schemas.usage_event import UsageEvent

NOW = 1_700_000_000  # 2023-11-14T22:13:20Z
ROWS = real_rows()[:220]


class Log:
    """What was delivered, on disk: it outlives the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def deliver(self, events: Sequence[UsageEvent], backfill: str) -> None:
        with self.path.open("ab") as file:
            for event in events:
                file.write(msgspec.json.encode([event, backfill]) + b"\n")

    def events(self) -> list[UsageEvent]:
        return [msgspec.json.decode(line, type=tuple[UsageEvent, str])[0] for line in self.path.read_bytes().splitlines()]

    def backfills(self) -> set[str]:
        return {msgspec.json.decode(line, type=tuple[UsageEvent, str])[1] for line in self.path.read_bytes().splitlines()}

    def sums(self) -> dict[Any, Any]:
        return counted(self.events(), format_time)


def run(root: Path, log: Log, now: int = NOW, **more: Any) -> list[Told]:
    state = ReportState(root / "state")
    try:
        return Collector(Folder(root / "b"), "aws-cur", "hourly", state, log.deliver, lambda: now, **more).run()
    finally:
        state.close()


def restated(rows: list[Row], seed: int) -> list[Row]:
    """The same report, published again: amounts differ, rows come and go, and every row has another id."""
    chance = random.Random(seed)
    found = []
    for row in rows:
        row = {**row, "identity/LineItemId": f"{seed}-{row['identity/LineItemId']}"}
        if chance.random() < 0.3:
            row["lineItem/UsageAmount"] = plain_quantity(Decimal(chance.randrange(10**12)).scaleb(-10))
        if chance.random() < 0.05:
            row["pricing/RateCode"] = "OTHER." + row["pricing/RateCode"]
        if chance.random() > 0.05:
            found.append(row)
    chance.shuffle(found)
    return [*found, {**found[0], "lineItem/UsageAmount": "0.5"}]


@pytest.fixture
def bench(tmp_path: Path) -> tuple[Path, AwsReport, Log]:
    return tmp_path, AwsReport(folder(tmp_path / "b")), Log(tmp_path / "log")


def test_three_versions_come_to_the_last_one(bench: tuple[Path, AwsReport, Log]) -> None:
    root, report, log = bench
    versions = [ROWS, restated(ROWS, 1), restated(restated(ROWS, 1), 2)]
    for number, rows in enumerate(versions):
        report.publish(f"v{number}", rows)
        (told,) = run(root, log)
        assert told.applied is not None
        assert log.sums() == added_up(rows)
        sent = len(log.events())
        assert run(root, log)[0].applied is None
        assert len(log.events()) == sent, "what stands is not sent again"
    assert added_up(versions[0]) != added_up(versions[1]) != added_up(versions[2])
    assert log.sums() != added_up(versions[0] + versions[1] + versions[2]), "the sums that adding files up would give"


def test_a_restated_day_is_told_line_by_line(bench: tuple[Path, AwsReport, Log]) -> None:
    root, report, log = bench
    row = next(row for row in ROWS if row["lineItem/LineItemType"] == "Usage")
    report.publish("v0", [{**row, "lineItem/UsageAmount": "10"}, {**row, "lineItem/UsageAmount": "2"}], files=1)
    run(root, log)
    for version, amounts in (("v1", ["9.5"]), ("v2", ["9.5", "1.25"]), ("v3", [])):
        other = {**row, "pricing/RateCode": "else", "lineItem/UsageAmount": "1"}
        report.publish(version, [other, *({**row, "lineItem/UsageAmount": amount} for amount in amounts)], files=1)
        run(root, log)
    state = ReportState(root / "state", reading=True)
    found = [(c.version[:2], *map(plain_quantity, (c.before, c.after, c.event.quantity))) for c in state.changes()]
    assert found == [("v1", "12", "9.5", "-2.5"), ("v2", "9.5", "10.75", "1.25"), ("v3", "10.75", "0", "-10.75")]
    last = [change.event for change in state.changes()][-1]
    assert last in log.events()
    assert [c.version[:2] for c in state.changes(event=last.id)] == ["v1", "v2", "v3"]
    assert [c.version[:2] for c in state.changes(event=last.id[:-1] + "2")] == ["v1"]
    assert [c.version[:2] for c in state.changes(version="v2", report="hourly", period="2023-11")] == ["v2"]
    assert list(state.changes(period="2023-10")) == []
    with pytest.raises(BadInput, match="no id of an event"):
        list(state.changes(event="cur:x"))
    state.close()


def killed_at(step: str, work: Callable[[Callable[[str], None]], None]) -> bool:
    """Whether a process that does this work was killed when it reached the step."""
    child = os.fork()
    if child == 0:
        try:
            work(lambda reached: os.kill(os.getpid(), signal.SIGKILL) if reached == step else None)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_comes_to_the_last_version(bench: tuple[Path, AwsReport, Log], step: str) -> None:
    root, report, log = bench
    for number, rows in enumerate([ROWS[:80], restated(ROWS[:80], 1), restated(ROWS[:80], 2)]):
        report.publish(f"v{number}", rows)
        assert killed_at(step, lambda hook: run(root, log, step=hook) and None)
        killed_at(step, lambda hook: run(root, log, step=hook) and None)  # once more, where the rest of the work comes by it again
        run(root, log)
        assert log.sums() == added_up(rows)


def test_killed_while_it_delivers_nothing_counts_twice(bench: tuple[Path, AwsReport, Log]) -> None:
    root, report, log = bench

    def half(events: Sequence[UsageEvent], backfill: str) -> None:
        log.deliver(events[: len(events) // 2], backfill)
        os.kill(os.getpid(), signal.SIGKILL)

    def dies(hook: Callable[[str], None]) -> None:
        state = ReportState(root / "state")
        Collector(Folder(root / "b"), "aws-cur", "hourly", state, half, lambda: NOW).run()

    report.publish("v0", ROWS)
    assert killed_at("never", dies)
    assert log.events()
    report.publish("v1", restated(ROWS, 1))  # what was decided for v0 is sent first
    run(root, log)
    assert log.sums() == added_up(restated(ROWS, 1))


@pytest.mark.parametrize("broken", ["ids that are new each time", "whole quantities instead of differences", "what is gone is left"])
def test_a_broken_collector_would_be_seen(bench: tuple[Path, AwsReport, Log], monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    root, report, log = bench
    report.publish("v0", ROWS)
    run(root, log)
    good = state_module.event_of
    if broken.startswith("ids"):
        monkeypatch.setattr(state_module, "event_of", lambda *a: msgspec.structs.replace(good(*a), id=uuid.uuid4().hex))
        state = ReportState(root / "state")
        state._db.execute("DELETE FROM lines")
        state.close()
    elif broken.startswith("whole"):
        monkeypatch.setattr(state_module, "difference", lambda after, before: after)
    else:
        monkeypatch.setattr(state_module, "_COMPARED", state_module._COMPARED.partition("UNION ALL")[0])
    report.publish("v1", restated(ROWS, 1))
    run(root, log)
    assert log.sums() != added_up(restated(ROWS, 1))


def test_lost_state_is_seen_and_counts_nothing_twice(bench: tuple[Path, AwsReport, Log]) -> None:
    """The ids say so: the first event of a line that was published before is a duplicate, or a conflict that lands in the dead letters."""
    root, report, log = bench
    report.publish("v0", ROWS)
    run(root, log)
    for path in (root / "state").iterdir():
        path.unlink()
    run(root, log)
    assert log.sums() == added_up(ROWS)
    for path in (root / "state").iterdir():
        path.unlink()
    report.publish("v1", restated(ROWS, 1))
    run(root, log)
    with pytest.raises(AssertionError, match="with other content"):
        log.sums()


def test_files_replaced_while_they_are_read_are_not_mixed(bench: tuple[Path, AwsReport, Log]) -> None:
    root, _, log = bench
    report = AwsReport(folder(root / "b"), overwrite=True)
    report.publish("v0", ROWS)
    newer = restated(ROWS, 1)
    left = [1]

    def replace(step: str) -> None:
        if step == "staged" and left:
            left.pop()
            report.publish("v1", newer)  # after the first file of v0 was read

    (told,) = run(root, log, step=replace)
    assert told.version.id.startswith("v1@")
    assert not left
    assert log.sums() == added_up(newer)

    newest = restated(ROWS, 2)
    report.write("v1", newest)  # the manifest was there before its files were, as in a copy of a bucket
    run(root, log)
    assert log.sums() == added_up(newest)

    report.publish("v2", ROWS)
    with pytest.raises(Unavailable, match="published anew"):
        run(root, log, step=lambda step: report.publish(uuid.uuid4().hex, ROWS) if step == "staged" else None)
    assert log.sums() == added_up(newest), "nothing of a version that does not stand still"
    run(root, log)
    assert log.sums() == added_up(ROWS)


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "a row that was cut off": lambda text: text[:-400],
    "a quantity that is none": lambda text: re.sub(rb"(,Usage,2023-.*?,)[0-9]+\.[0-9]+,", rb"\1zero,", text, count=1),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_version_that_cannot_be_read_in_full_is_not_taken(bench: tuple[Path, AwsReport, Log], how: str) -> None:
    root, report, log = bench
    report.publish("v0", ROWS)
    run(root, log)
    report.publish("v1", restated(ROWS, 1), spoil=SPOILED[how])
    with pytest.raises(Unreadable, match="not taken, and what was published before stands") as raised:
        run(root, log)
    assert ".csv.gz:" in str(raised.value).splitlines()[1], "the row is named"
    assert log.sums() == added_up(ROWS)


def test_a_version_without_any_usage_takes_nothing_back_unless_it_is_meant(bench: tuple[Path, AwsReport, Log]) -> None:
    """An export that went wrong has a header and no rows; or only rows that are money without usage."""
    root, report, log = bench
    report.publish("v0", ROWS)
    run(root, log)
    empty = folder(root / "b")
    empty("cur/hourly/20231101-20231201/v1/hourly-1.csv.gz", gzip.compress(",".join(ROWS[0]).encode() + b"\n"))
    report.announce("v1", ["cur/hourly/20231101-20231201/v1/hourly-1.csv.gz"])
    with pytest.raises(BadInput, match=r"v1 has no usage at all, and [0-9]+ lines of usage stand"):
        run(root, log)
    report.publish("v2", [{**row, "lineItem/LineItemType": "Fee"} for row in ROWS])
    with pytest.raises(BadInput, match="v2 has no usage at all"):
        run(root, log)
    assert log.sums() == added_up(ROWS)
    run(root, log, empty=True)
    assert log.sums() == {}
    report.publish("v3", ROWS[:20])
    run(root, log)
    assert log.sums() == added_up(ROWS[:20])
    AwsReport(folder(root / "b"), "2023-12").publish("v0", [{**row, "lineItem/LineItemType": "Fee"} for row in ROWS])
    assert len(run(root, log)) == 2, "the first version of a month may be empty"


NO_TIME = b'{"assemblyId": "x", "billingPeriod": {"start": "now", "end": "20231201T000000.000Z"}, "reportKeys": ["x"]}'


def test_a_missing_file_and_a_broken_archive_are_one_line(bench: tuple[Path, AwsReport, Log]) -> None:
    root, report, log = bench
    report.announce("v0", ["cur/hourly/20231101-20231201/v0/hourly-1.csv.gz"])
    with pytest.raises(Unavailable, match="published anew"):
        run(root, log)
    names = report.write("v0", ROWS, files=1)
    path = root / "b" / names[0]
    path.write_bytes(path.read_bytes()[:-50])
    report.announce("v0", names)
    with pytest.raises(BadInput) as raised:
        run(root, log)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{root}/b/{names[0]}: "), "the file of the report, not the copy that was read"
    for wrong in (b"[]", b"{", b'{"assemblyId": "x"}', NO_TIME, NO_TIME.replace(b"now", b"20231301T000000.000Z")):
        (root / "b" / report.folder / "hourly-Manifest.json").write_bytes(wrong)
        with pytest.raises(BadInput, match=r"hourly-Manifest\.json"):
            run(root, log)


def test_old_usage_goes_as_a_backfill_and_young_usage_does_not(bench: tuple[Path, AwsReport, Log]) -> None:
    root, report, log = bench
    report.publish("v0", ROWS)
    run(root, log, now=NOW + 20 * 86_400, live_s=25 * 86_400)
    assert log.backfills() == {"", "report-hourly"}
    assert log.sums() == added_up(ROWS)


def test_what_was_tried_too_long_ago_is_not_sent_again(bench: tuple[Path, AwsReport, Log]) -> None:
    root, report, log = bench
    report.publish("v0", ROWS)
    assert killed_at("delivered", lambda hook: run(root, log, step=hook) and None)
    with pytest.raises(Unavailable, match="31 days ago"):
        run(root, log, now=NOW + 31 * 86_400)
    run(root, log, now=NOW + 29 * 86_400)
    assert log.sums() == added_up(ROWS)


def test_completeness_says_which_hours_are_missing(bench: tuple[Path, AwsReport, Log]) -> None:
    root, report, log = bench
    row = next(row for row in ROWS if row["lineItem/LineItemType"] == "Usage")
    hours = [(0, 1), (1, 2), (5, 30)]  # the last one is of a day and an hour
    stamps = [{**row, "lineItem/UsageStartDate": stamp(start), "lineItem/UsageEndDate": stamp(end)} for start, end in hours]
    report.publish("v0", stamps, files=1)
    run(root, log)
    state = ReportState(root / "state", reading=True)
    (found,) = state.reports()
    state.close()
    begin = 1_698_796_800  # 2023-11-01T00:00:00Z
    assert found.missing(begin + 3 * 3_600 + 1_799) == [(begin + 2 * 3_600, begin + 3 * 3_600)], "an hour that is not over is not missing"
    assert found.missing(begin + 40 * 3_600) == [(begin + 2 * 3_600, begin + 5 * 3_600), (begin + 30 * 3_600, begin + 40 * 3_600)]
    assert len(found.expected(NOW + 90 * 86_400)) == 30 * 24
    assert (found.rows, found.lines, found.without_usage) == (3, 3, 0)


def stamp(hour: int) -> str:
    return f"2023-11-{1 + hour // 24:02}T{hour % 24:02}:00:00.000Z"


def test_the_state_has_one_owner_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    state = ReportState(tmp_path / "s")
    with pytest.raises(BadInput, match="another collector"):
        ReportState(tmp_path / "s")
    ReportState(tmp_path / "s", reading=True).close()
    state._db.execute("PRAGMA user_version = 9")
    state.close()
    with pytest.raises(NewerSchema):
        ReportState(tmp_path / "s")
    with pytest.raises(BadInput, match="no collector has worked here"):
        ReportState(tmp_path / "none", reading=True)
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        ReportState(tmp_path / "file")


def test_a_full_disk_is_said_and_nothing_is_lost(bench: tuple[Path, AwsReport, Log]) -> None:
    root, report, log = bench
    report.publish("v0", ROWS[:20])
    run(root, log)
    newer = restated(ROWS, 1)
    report.publish("v1", newer)
    state = ReportState(root / "state")
    collector = Collector(Folder(root / "b"), "aws-cur", "hourly", state, log.deliver, lambda: NOW)
    (pages,) = state._db.execute("PRAGMA page_count").fetchone()
    for more in (1, 20, 40):  # it fails while lines are staged, and while they are taken over
        state._db.execute(f"PRAGMA max_page_count = {pages + more}")
        with pytest.raises(Unavailable, match="is the disk full"):
            collector.run()
        assert log.sums() == added_up(ROWS[:20])
    state._db.execute("PRAGMA max_page_count = 1000000")
    collector.run()
    state.close()
    assert log.sums() == added_up(newer)


def test_a_state_is_of_one_report(bench: tuple[Path, AwsReport, Log]) -> None:
    root, report, log = bench
    state = ReportState(root / "state")
    with pytest.raises(BadInput, match="say --new if it was never collected"):
        state.belongs_to("aws-cur hourly at s3://a/cur", new=False)
    state.belongs_to("aws-cur hourly at s3://a/slip", new=True)
    state.belongs_to("aws-cur hourly at s3://a/cur", new=True)  # nothing was taken from there: it may have been a slip
    state.belongs_to("aws-cur hourly at s3://a/cur", new=False)
    state.close()
    report.publish("v0", ROWS[:9])
    run(root, log)
    state = ReportState(root / "state")
    with pytest.raises(BadInput, match="leave --new out"):
        state.belongs_to("aws-cur hourly at s3://a/cur", new=True)
    for other in ("aws-cur hourly at s3://b/cur", "azure-export hourly at s3://a/cur"):
        with pytest.raises(BadInput, match="the state of aws-cur hourly at s3://a/cur, not of"):
            state.belongs_to(other, new=False)
    state.close()


def test_months_before_the_first_one_are_left_alone(bench: tuple[Path, AwsReport, Log]) -> None:
    root, report, log = bench
    report.publish("v0", ROWS)
    older = AwsReport(folder(root / "b"), month="2023-10")
    older.publish("v0", [{**row, "lineItem/UsageStartDate": "2023-10-05T00:00:00Z"} for row in ROWS])
    run(root, log, since=1_698_796_800)
    assert log.sums() == added_up(ROWS)


def test_a_dry_run_tells_and_changes_nothing(bench: tuple[Path, AwsReport, Log]) -> None:
    root, report, log = bench
    report.publish("v0", ROWS)
    run(root, log)
    report.publish("v1", restated(ROWS, 1))
    told: list[Any] = []

    def dry() -> list[Told]:
        state = ReportState(root / "state")
        try:
            return Collector(Folder(root / "b"), "aws-cur", "hourly", state, log.deliver, lambda: NOW).run(dry=True, change=told.append)
        finally:
            state.close()

    before = log.path.read_bytes()
    (first,), (second,) = dry(), dry()
    assert first == second
    assert log.path.read_bytes() == before
    assert first.applied is not None
    assert len(told) == 2 * (first.applied.changed + first.applied.gone) > 0
    run(root, log)
    assert log.sums() == added_up(restated(ROWS, 1))


def test_a_million_is_not_needed_in_memory(bench: tuple[Path, AwsReport, Log], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are staged in parts, and a line whose rows lie in several parts is one line."""
    from ratemill.collectors.reports import run as run_module

    monkeypatch.setattr(run_module, "_STAGED_AT_ONCE", 3)
    monkeypatch.setattr(run_module, "_BATCH", 7)
    root, report, log = bench
    rows = [{**row, "lineItem/UsageAmount": str(number)} for row in ROWS[:40] for number in range(40)]
    report.publish("v0", rows)
    run(root, log)
    assert log.sums() == added_up(rows)
    assert len({event.id for event in log.events()}) == len(log.events())
    assert len(log.events()) < len(rows)
