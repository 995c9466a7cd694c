"""What `ratemill collect` says: what would be taken, what stands, what changed, and what is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from harness.reports import AwsReport, Row, folder, real_rows
from ratemill.cli.collect import command
from ratemill.collectors.reports.run import Collector
from ratemill.collectors.reports.state import ReportState
from ratemill.collectors.reports.stores import Folder
from ratemill.schemas.errors import BadInput

ROWS = [row for row in real_rows()[:60] if row["lineItem/LineItemType"] == "Usage"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    AwsReport(folder(tmp_path / "b")).publish("v0", ROWS)
    return tmp_path


def say(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def take(place: Path, rows: Sequence[Row], version: str) -> None:
    """What a run does, without a Kafka."""
    AwsReport(folder(place / "b")).publish(version, rows)
    state = ReportState(place / ".ratemill" / "collect" / "hourly")
    Collector(Folder(place / "b"), "aws-cur", "hourly", state, lambda events, backfill: None, lambda: 1_700_000_000).run()
    state.close()


def test_a_dry_run_says_what_would_change_and_keeps_nothing(place: Path) -> None:
    take(place, ROWS, "v0")
    AwsReport(folder(place / "b")).publish("v1", [{**ROWS[0], "lineItem/UsageAmount": "7.5"}, *ROWS[2:]])
    for _ in range(2):
        done = say("aws-cur", "b", "--report", "hourly", "--new", "--dry-run")
        assert done.exit_code == 0, done.output
        assert "hourly 2023-11 v1: would be taken: " in done.output
        assert " → 7.5 " in done.output
        assert " → 0 " in done.output
        assert "hourly 2023-11" in say("status").output
        (report,) = json.loads(say("status", "--json").output)["reports"]
        assert report["version"].startswith("v0@")


def test_what_is_taken_is_told_also_when_another_month_cannot_be_read(place: Path) -> None:
    AwsReport(folder(place / "b"), month="2023-10").publish("bad", ROWS, spoil=lambda text: text[:-300])
    done = say("aws-cur", "b", "--report", "hourly", "--new", "--dry-run")
    assert "hourly 2023-11 v0: would be taken" in done.output
    assert isinstance(done.exception, BadInput)
    assert "hourly 2023-10: rows that cannot be read: " in str(done.exception)


def test_the_first_time_is_said_to_be_the_first(place: Path) -> None:
    done = say("aws-cur", "b", "--report", "hourly", "--dry-run")
    assert isinstance(done.exception, BadInput)
    assert "say --new if it was never collected" in str(done.exception)
    for name in ("../x", "a/b", "", "/etc"):
        assert say("aws-cur", "b", "--report", name, "--new").exit_code == 2


def test_changes_and_status_are_told_to_people_too(place: Path) -> None:
    take(place, ROWS, "v0")
    take(place, [{**ROWS[0], "lineItem/UsageAmount": "7.5"}, *ROWS[1:]], "v1")
    told = say("changes").output
    assert "hourly 2023-11 v1" in told
    assert " → 7.5 " in told
    shown = say("status").output
    assert "2023-11" in shown
    assert "of 720" in shown
    assert say("changes", "--period", "2023-10").output == ""
    assert isinstance(say("changes", "--event", "x").exception, BadInput)
