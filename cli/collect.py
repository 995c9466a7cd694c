"""`ratemill collect`: usage from where providers put it. Reports that replace each other; what pushes is taken by `ratemill api`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..collectors.reports.layouts import LAYOUTS, WITHIN
from ..collectors.reports.lines import HOUR_S
from ..collectors.reports.run import Collector, Tell, Told
from ..collectors.reports.state import Change, Report, ReportState
from ..collectors.reports.stores import Store, open_store
from ..schemas.errors import RatemillError, Unavailable
from ..schemas.quantity import difference, plain_quantity
from ..schemas.times import NS, format_time
from ..schemas.usage_event import UsageEvent
from ..streams.config import Config, load_config
from .collect_delivery import delivering, delivery_options
from .collect_event_hubs import command as event_hubs
from .collect_prometheus import command as prometheus
from .collect_prometheus import summary, summary_text
from .corrections import event_json, moment, time_text, with_config
from .dead_letters import printable

__all__ = ["command"]

Command = TypeVar("Command", bound=Callable[..., Any])
_STATE = ".ratemill/collect"
_SHOWN = 5  # missing spans of a report
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,199}").fullmatch  # it names a folder and a backfill

with_state = click.option(
    "--state", default=_STATE, show_default=True, metavar="FOLDER", help="What was published so far. Keep it: on a disk that is backed up."
)


@click.group()
def command() -> None:
    """Collect usage from where providers put it, and tell how complete it is.

    \b
      ratemill collect aws-cur s3://my-bucket/reports --report my-cur --new   Cost and Usage Report (version 1), the first time
      ratemill collect aws-cur s3://my-bucket/reports --report my-cur         the same from then on
      ratemill collect aws-export s3://my-bucket/exports --report my-cur2     Data Exports (CUR 2.0)
      ratemill collect azure-export https://ACCOUNT.blob.core.windows.net/CONTAINER --report my-export
      ratemill collect gcp-export gs://my-bucket/billing --report my-export   BigQuery billing export, written by EXPORT DATA
      ratemill collect event-hubs --connection-file hub.txt                   Azure Event Hubs
      ratemill collect prometheus --plan plan.toml                            infrastructure that only has metrics
      ratemill collect status                                                 hours expected, hours seen
      ratemill collect changes                                                what restated reports changed, line by line

    A report is published again until its month is final. Each time, what it says now counts, and nothing of what it said before.
    CloudWatch metric streams and Pub/Sub push to `ratemill api`. Permissions, and what counts: docs/collectors-cloud.md.
    """


def _report_options(function: Command) -> Command:
    for option in (
        with_config,
        click.option("--allow-empty", is_flag=True, help="Take also a version without any usage where there was some."),
        click.option("--dry-run", is_flag=True, help="Say what would change, line by line; publish nothing, keep nothing."),
        click.option("--every", type=click.IntRange(min=1), metavar="SECONDS", help="Look again and again.  [default: look once]"),
        delivery_options,
        click.option("--endpoint", default="", metavar="URL", help="Address of what speaks the protocol of S3, if it is not AWS."),
        with_state,
        click.option("--since", metavar="MONTH", help="Leave the months before alone: 2026-11.  [default: take all that are there]"),
        click.option("--new", is_flag=True, help="It was never collected before. Needed the first time, refused afterwards."),
        click.option("--report", required=True, metavar="NAME", help="Name of the report or export, as the provider has it."),
        click.argument("place", metavar="PLACE"),
    ):
        function = option(function)
    return function


def _kind(layout: str, what: str, more: str) -> None:
    """One command for each layout: they differ in how a provider lays its files out, and in nothing else."""

    @_report_options
    def run(
        place: str, report: str, new: bool, since: str | None, state: str, endpoint: str, topic: str | None, api: str, key_file: str,
        every: int | None, dry_run: bool, allow_empty: bool, path: str | None,
    ) -> None:  # fmt: skip
        if _NAME(report) is None:
            raise click.UsageError("--report: the name of a report has letters, digits, `_`, `.`, `-` and blanks")
        config = load_config(path)
        first = moment(f"{since}-01", "--since") // NS if since else 0
        store = open_store(place, endpoint)
        opened = ReportState(Path(state, report))
        try:
            opened.belongs_to(f"{layout} {report} at {place.partition('?')[0]}", new=new, keep=not dry_run)
            while True:
                try:
                    _look(config, (store, layout, report, opened), (topic, api, key_file), first, dry_run, allow_empty)
                except RatemillError as error:
                    if every is None:
                        raise
                    click.echo("\n".join(printable(line) for line in f"error: {error}".split("\n")), err=True)
                if every is None:
                    return
                time.sleep(every)
        finally:
            opened.close()

    run.__doc__ = f"""Take usage from {what} at PLACE: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, an https address, or a folder.

    {more}

    Killed anywhere, it goes on where it was when it is run again. A version with a row that cannot be read is not taken. Exit status: 0 when all
    is taken, 1 when something is not there or is being replaced (run it again), 2 for what has to be mended first.
    """
    command.command(layout)(run)


_kind(
    "aws-cur", "Cost and Usage Reports",
    "Finds the newest version of each month by REPORT/YYYYMMDD-YYYYMMDD/REPORT-Manifest.json. CSV.gz, or Parquet. Both ways of versioning work.",
)  # fmt: skip
_kind(
    "aws-export", "AWS Data Exports (CUR 2.0)",
    "Finds the newest version of each month by EXPORT/metadata/BILLING_PERIOD=YYYY-MM/EXPORT-Manifest.json. CSV.gz, or Parquet.",
)  # fmt: skip
_kind(
    "azure-export", "cost exports of Azure",
    "Finds the newest run of each period by EXPORT/YYYYMMDD-YYYYMMDD/…/manifest.json: month-to-date exports replace each other.",
)  # fmt: skip
_kind(
    "gcp-export", "BigQuery billing exports of GCP",
    "Reads REPORT/YYYY-MM/*.csv, .json or .parquet, gzipped or not, once there is a file _SUCCESS beside them. The folder holds the whole month.",
)  # fmt: skip


def _look(
    config: Config, what: tuple[Store, str, str, ReportState], where: tuple[str | None, str, str], first: int, dry: bool, empty: bool
) -> None:  # fmt: skip
    """Look once whether there is anything new, and take it."""
    rating = config.rating
    with ExitStack() as stack:
        tell = stack.enter_context(_shown())
        deliver = _nowhere if dry else stack.enter_context(delivering(config, *where))
        collector = Collector(
            *what, deliver, lambda: int(time.time()), since=first, live_s=rating.event_age_s * 6 // 7,
            remembered_s=rating.dedupe_window_s * 6 // 7, empty=empty, tell=tell,
        )  # fmt: skip
        if not collector.run(dry=dry, change=_change_told if dry else lambda _: None, done=lambda told: click.echo(_told(told, dry))):
            store, layout, report, _ = what
            marks, left = LAYOUTS[layout].marks.format(report), ", or all there is began before --since" if first else ""
            raise Unavailable(f"{store}: nothing to take: no {marks} is there{left}; are the name and the place right, and was it delivered already?")


def _nowhere(events: Sequence[UsageEvent], backfill: str) -> None:
    raise AssertionError("a dry run sends nothing")


def _told(told: Told, dry: bool) -> str:
    version, applied = told.version, told.applied
    name = printable(f"{version.report} {version.period} {version.id.partition('@')[0]}")
    if applied is None:
        return f"{name}: stands already"
    counts = f"{told.rows:,} rows; lines: {applied.new:,} new, {applied.changed:,} changed, {applied.gone:,} gone, {applied.same:,} as they were"
    return f"{name}: {'would be taken' if dry else 'taken'}: {counts}"


def _change_told(change: Change) -> None:
    event = change.event
    delta = plain_quantity(difference(change.after, change.before))
    what = " ".join(part for part in (event.account, event.sku, format_time(event.time), event.region, event.resource) if part)
    click.echo(printable(f"  {what}: {plain_quantity(change.before)} → {plain_quantity(change.after)} {event.unit} ({delta})"))


@contextmanager
def _shown() -> Iterator[Tell]:
    """What is being done, on standard error where somebody watches."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("looking", total=None)
        yield lambda what, count: progress.update(task, description=f"{count:,} {what}")


command.add_command(prometheus)
command.add_command(event_hubs)


@command.command()
@with_state
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(state: str, as_json: bool) -> None:
    """Tell how complete each report is: hours that are over, hours that it has rows of, and which are missing.

    The last day of a report is often missing: providers publish usage up to a day late, and some hours have none. Exit status 0 also when hours are
    missing; see --json for a script.
    """
    now = int(time.time())
    found: list[tuple[Report, int]] = []
    for folder in sorted({path.parent for path in Path(state).rglob("reports.db")}):
        opened = ReportState(folder, reading=True)
        # A period whose days another one has now is not about any hours.
        found += [(report, opened.count_waiting()) for report in opened.reports() if not report.version.startswith(WITHIN)]
        opened.close()
    metrics = [one for path in sorted(Path(state).rglob("windows.db")) for one in summary(path, now)]
    if as_json:
        click.echo(json.dumps({"reports": [_report_json(report, waiting, now) for report, waiting in found], "metrics": metrics}, indent=1))
        return
    for one in metrics:
        click.echo(printable(summary_text(one)))
    if not found and not metrics:
        click.echo(f"{state}: nothing was collected with this state")
    for report, waiting in found:
        expected, missing = report.expected(now), report.missing(now)
        seen = len(expected) - _hours(missing)
        version = report.version.partition("@")[0]
        click.echo(printable(f"{report.report} {report.period}, version {version} of {time_text(report.taken_at * NS)} UTC"))
        click.echo(f"  {seen:,} of {len(expected):,} hours seen; {report.lines:,} lines of {report.rows:,} rows; {waiting:,} events to be sent")
        for start, end in missing[:_SHOWN]:
            click.echo(f"  missing: {time_text(start * NS)} to {time_text(end * NS)} UTC")
        if len(missing) > _SHOWN:
            click.echo(f"  and {len(missing) - _SHOWN:,} more spans, see --json")


def _hours(spans: Sequence[tuple[int, int]]) -> int:
    return sum(end - start for start, end in spans) // HOUR_S


def _report_json(report: Report, waiting: int, now: int) -> dict[str, Any]:
    expected, missing = report.expected(now), report.missing(now)
    return {
        "report": report.report, "period": report.period, "version": report.version, "versions": report.versions,
        "taken_at": format_time(report.taken_at * NS), "rows": report.rows, "rows_without_usage": report.without_usage, "lines": report.lines,
        "hours_expected": len(expected), "hours_seen": len(expected) - _hours(missing),
        "missing": [{"from": format_time(start * NS), "to": format_time(end * NS)} for start, end in missing], "waiting_to_be_sent": waiting,
    }  # fmt: skip


@command.command()
@with_state
@click.option("--report", default="", metavar="NAME", help="Of this report only.")
@click.option("--period", default="", metavar="PERIOD", help="Of this period only: 2026-10.")
@click.option("--version", default="", metavar="ID", help="By this version only, as `status` shows it.")
@click.option("--event", default="", metavar="ID", help="The history of one line, up to this event, as `ratemill explain` shows it: line:0123…:3.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def changes(state: str, report: str, period: str, version: str, event: str, as_json: bool) -> None:
    """Tell what newer versions of reports changed, line by line: what it was, what it is, and the event that carries the difference."""
    for folder in sorted({path.parent for path in Path(state).rglob("reports.db")}):
        opened = ReportState(folder, reading=True)
        for change in opened.changes(report, period, version, event):
            if as_json:
                said = {
                    "report": change.report, "period": change.period, "version": change.version, "at": format_time(change.at * NS),
                    "before": plain_quantity(change.before), "after": plain_quantity(change.after), "event": event_json(change.event),
                }  # fmt: skip
                click.echo(json.dumps(said, ensure_ascii=False))
            else:
                head = f"{change.report} {change.period} {change.version.partition('@')[0]} {time_text(change.at * NS)}"
                click.echo(printable(f"{head} {change.event.id}"))
                _change_told(change)
        opened.close()
