"""The alert rules: each fires when it must and not otherwise, goes by metrics that exist, and is explained in the runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from prometheus_client import CollectorRegistry
from ratemill.api.metrics import ApiMetrics
from ratemill.api.pipeline import gauges_of
from ratemill.api.watcher import WatchMetrics
from ratemill.cli.reconcile import metrics_of
from ratemill.schemas.pipeline import PipelineHealth
from ratemill.sinks.marketplace.metrics import ReporterMetrics
from ratemill.streams.metrics import Metrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docker" / "prometheus" / "rules.yaml"
DASHBOARDS = sorted((ROOT / "docker" / "grafana").rglob("*.json"))
RUNBOOK = ROOT / "docs" / "runbook.md"
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=ROOT / "build" / "promtool" / "usr" / "bin")

promtool_needed = pytest.mark.skipif(PROMTOOL is None, reason="no promtool: install the package prometheus, or unpack it to build/promtool")

class Case(NamedTuple):
    """Series from step 0 on, a value a step ("0+1x60": 0, 1, 2 … 60), and whether the alert fires at that step."""

    alert: str
    fires: bool
    step: int
    series: dict[str, str]


def duplicates(before: int, now: int, steps: int = 288) -> dict[str, str]:
    """Duplicates among 1,000 events a step: so many for some steps, then so many."""
    return {
        'ratemill_events_received_total{agent="rate",topic="t"}': f"0+1000x{steps + 20}",
        'ratemill_events_duplicate_total{topic="t"}': f"0+{before}x{steps} {before * steps + now}+{now}x20",
    }


CASES = [
    Case("RatemillStale", True, 10, {"ratemill_freshness_seconds": "301x20"}),
    Case("RatemillStale", False, 10, {"ratemill_freshness_seconds": "300x20"}),
    Case("RatemillStale", False, 10, {"ratemill_freshness_seconds": "0x6 400x14"}),  # not for long enough
    Case("RatemillLagging", True, 15, {'ratemill_lag_seconds{lane="rate",topic="t",partition="1"}': "61x20"}),
    Case("RatemillLagging", False, 15, {'ratemill_lag_seconds{lane="rate",topic="t",partition="1"}': "59x20"}),
    Case("RatemillPipelineNotSeen", True, 10, {"ratemill_pipeline_seen": "0x20", "ratemill_freshness_seconds": "0x20"}),
    Case("RatemillPipelineNotSeen", True, 10, {"up": "1x20"}),
    Case("RatemillPipelineNotSeen", True, 10, {"ratemill_pipeline_seen": "1x20"}),  # a lane could not be read in time
    Case("RatemillPipelineNotSeen", False, 10, {"ratemill_pipeline_seen": "1x20", "ratemill_freshness_seconds": "0x20"}),
    Case("RatemillWorkerDown", True, 5, {'up{job="ratemill-worker",instance="w1"}': "1 0x9", 'up{job="ratemill-worker",instance="w2"}': "1x9"}),
    Case("RatemillWorkerDown", True, 5, {'up{job="ratemill-api"}': "1x9"}),
    Case("RatemillWorkerDown", False, 5, {'up{job="ratemill-worker",instance="w1"}': "1x9", 'up{job="ratemill-api"}': "0x9"}),
    Case("RatemillMarketplaceOverdue", True, 10, {'ratemill_marketplace_overdue_hours{listing="a"}': "0x2 1x18"}),
    Case("RatemillMarketplaceOverdue", False, 10, {'ratemill_marketplace_overdue_hours{listing="a"}': "0x20"}),
    Case("RatemillMarketplaceDown", True, 20, {"ratemill_marketplace_works": "1 0x25"}),
    Case("RatemillMarketplaceDown", True, 20, {"ratemill_marketplace_works": "1x3 _x25"}),  # it is gone, with all that it says
    Case("RatemillMarketplaceDown", False, 20, {
        'ratemill_marketplace_works{instance="a"}': "0x25", 'ratemill_marketplace_works{instance="b"}': "1x25"}),
    Case("RatemillMarketplaceDown", False, 20, {"ratemill_freshness_seconds": "0x25"}),  # no marketplaces are used
    Case("RatemillWatchDown", True, 10, {"ratemill_watch_works": "1 0x15"}),
    Case("RatemillWatchDown", True, 10, {'up{job="ratemill-api"}': "1x15"}),
    Case("RatemillWatchDown", False, 10, {'ratemill_watch_works{instance="a"}': "0x15", 'ratemill_watch_works{instance="b"}': "1x15"}),
    Case("RatemillFenced", True, 90, {"ratemill_fenced_total": "0+1x100"}),
    Case("RatemillFenced", False, 90, {"ratemill_fenced_total": "0x40 8x60"}),  # a rebalance
    Case("RatemillResets", True, 90, {"ratemill_partition_resets_total": "0+1x100"}),
    Case("RatemillResets", False, 90, {"ratemill_partition_resets_total": "0x40 8x60"}),
    Case("RatemillUnbalanced", True, 5, {"ratemill_conservation_difference_events": "0 2x10"}),
    Case("RatemillUnbalanced", True, 5, {'ratemill_unbalanced_events{lane="rate-0"}': "0 -1x10"}),
    Case("RatemillUnbalanced", False, 5, {"ratemill_conservation_difference_events": "0x10", 'ratemill_unbalanced_events{lane="rate-0"}': "0x10"}),
    Case("RatemillReconciliationDiffers", True, 5, {"ratemill_reconciliation_differences": "1x10"}),
    Case("RatemillReconciliationDiffers", False, 5, {"ratemill_reconciliation_differences": "0x10"}),
    Case("RatemillUnpriced", True, 20, {"ratemill_unpriced_oldest_seconds": "14401x30"}),
    Case("RatemillUnpriced", False, 20, {"ratemill_unpriced_oldest_seconds": "3600x30"}),  # its window is still open
    Case("RatemillDeadLetters", True, 10, {"ratemill_dead_letters_last_hour": "1x20"}),
    Case("RatemillDeadLetters", False, 10, {"ratemill_dead_letters_last_hour": "0x20"}),
    Case("RatemillManyDeadLetters", True, 30, {
        'ratemill_events_dead_lettered_total{agent="normalize",reason="bad_time"}': "0+20x40",
        'ratemill_events_received_total{agent="normalize",topic="t"}': "0+1000x40"}),
    Case("RatemillManyDeadLetters", False, 30, {
        'ratemill_events_dead_lettered_total{agent="normalize",reason="bad_time"}': "0+9x40",
        'ratemill_events_received_total{agent="normalize",topic="t"}': "0+1000x40"}),
    Case("RatemillSinkRefused", True, 10, {"ratemill_line_items_refused_total": "0x5 1x10"}),
    Case("RatemillSinkRefused", False, 10, {"ratemill_line_items_refused_total": "1x20"}),
    Case("RatemillSinkRetries", True, 50, {"ratemill_sink_retries_total": "0+2x60"}),
    Case("RatemillSinkRetries", False, 50, {"ratemill_sink_retries_total": "0x30 9x30"}),
    Case("RatemillSourceSilent", True, 10, {'ratemill_source_silent{source="eu-1"}': "1x20", 'ratemill_source_silent{source="us-1"}': "0x20"}),
    Case("RatemillSourceSilent", False, 10, {'ratemill_source_silent{source="us-1"}': "0x20"}),
    Case("RatemillAlertsUndelivered", True, 10, {"ratemill_alert_oldest_undelivered_seconds": "901x20"}),
    Case("RatemillAlertsUndelivered", False, 10, {"ratemill_alert_oldest_undelivered_seconds": "600x20"}),
]  # fmt: skip


# A step of ten minutes: these look back over days.
LONG_CASES = [
    Case("RatemillReconciliationOld", True, 300, {"ratemill_reconciliation_timestamp_seconds": "0x300"}),
    Case("RatemillReconciliationOld", False, 300, {"ratemill_reconciliation_timestamp_seconds": "0x200 120000x100"}),
    Case("RatemillDuplicatesHigh", True, 296, duplicates(50, 400)),
    Case("RatemillDuplicatesHigh", False, 296, duplicates(50, 90)),
    Case("RatemillDuplicatesHigh", False, 44, duplicates(50, 400, 36)),  # no history yet
    Case("RatemillDuplicatesLow", True, 296, duplicates(50, 0)),
    Case("RatemillDuplicatesLow", False, 296, duplicates(50, 30)),
    Case("RatemillDuplicatesLow", False, 296, duplicates(0, 0)),  # there never were any
]


def rules(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def alerts(text: str) -> list[dict[str, Any]]:
    return [rule for rule in rules(text) if "alert" in rule]


def promtool(folder: Path, text: str, cases: Iterable[Case], minutes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run these rules over the series of all cases; minutes: of a step."""
    (folder / "rules.yaml").write_text(text)
    tests = [
        {
            "interval": f"{minutes}m",
            "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
            "promql_expr_test": [{
                "expr": f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})', "eval_time": f"{case.step * minutes}m",
                "exp_samples": [{"labels": "{}", "value": 1}] if case.fires else [],
            }],
        }
        for case in cases
    ]  # fmt: skip
    (folder / "test.yaml").write_text(json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": f"{minutes}m", "tests": tests}))
    return subprocess.run([str(PROMTOOL), "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@promtool_needed
@pytest.mark.parametrize(("cases", "minutes"), [(CASES, 1), (LONG_CASES, 10)])
def test_every_alert_fires_when_it_must_and_not_otherwise(tmp_path: Path, cases: list[Case], minutes: int) -> None:
    said = promtool(tmp_path, RULES.read_text(), cases, minutes)
    assert said.returncode == 0, said.stdout + said.stderr


@promtool_needed
@pytest.mark.parametrize("bound", ["9e9", "0"])
def test_a_rule_with_a_wrong_bound_is_found(tmp_path: Path, bound: str) -> None:
    right = "max(ratemill_freshness_seconds) > "
    assert f"{right}300" in RULES.read_text()
    broken = RULES.read_text().replace(f"{right}300", right + bound)
    assert promtool(tmp_path, broken, [case for case in CASES if case.alert == "RatemillStale"]).returncode != 0


@promtool_needed
def test_promtool_finds_nothing_wrong() -> None:
    for what in (["config", RULES.with_name("prometheus.yaml")], ["rules", RULES]):
        said = subprocess.run([str(PROMTOOL), "check", *map(str, what)], capture_output=True, text=True, timeout=60, check=False)
        assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_has_both_kinds_of_cases() -> None:
    every = {(rule["alert"], fires) for rule in alerts(RULES.read_text()) for fires in (True, False)}
    assert {(case.alert, case.fires) for case in [*CASES, *LONG_CASES]} == every


# -- metrics -------------------------------------------------------------------------------------------------------------


def metrics_in_code() -> set[str]:
    """Every name that a scrape of ours can have."""
    api = CollectorRegistry()
    ApiMetrics(api)
    names = set[str]()
    families = [*gauges_of(PipelineHealth(status="ok", freshness_s=0)), *metrics_of(0, 0, 0).collect()]
    own = [each.registry.collect() for each in (Metrics(), WatchMetrics(), ReporterMetrics())]
    for family in [*families, *(family for families_of in own for family in families_of), *api.collect()]:
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        names |= {family.name + ending for ending in endings}
    return names


def metrics_named(expressions: Iterable[str]) -> set[str]:
    return {name for text in expressions for name in re.findall(r"(?<![\w:])ratemill_\w+", text)}


def expressions_of(dashboard: Any) -> list[str]:
    """Every PromQL expression in a Grafana dashboard."""
    if isinstance(dashboard, dict):
        own = [dashboard["expr"]] if isinstance(dashboard.get("expr"), str) else []
        return own + [text for value in dashboard.values() for text in expressions_of(value)]
    return [text for value in dashboard for text in expressions_of(value)] if isinstance(dashboard, list) else []


def recorded(text: str) -> set[str]:
    return {rule["record"] for rule in rules(text) if "record" in rule}


def test_rules_and_dashboards_go_by_metrics_that_exist() -> None:
    told = [rule["expr"] for rule in rules(RULES.read_text())]
    shown = [text for path in DASHBOARDS for text in expressions_of(json.loads(path.read_text()))]
    assert len(told) > 15
    assert len(shown) > 5
    assert metrics_named([*told, *shown]) - metrics_in_code() == set()
    assert {name for text in [*told, *shown] for name in re.findall(r"ratemill:\w+", text)} == recorded(RULES.read_text())


def test_a_metric_that_is_not_there_is_found() -> None:
    assert metrics_named(["sum(rate(ratemill_nonsense_total[5m]))", "max(ratemill:recorded)"]) - metrics_in_code() == {"ratemill_nonsense_total"}
    assert expressions_of({"panels": [{"targets": [{"expr": "a"}]}, {"panels": [{"targets": [{"expr": "b"}]}]}]}) == ["a", "b"]


# -- runbook -------------------------------------------------------------------------------------------------------------

PARTS = ("**What it means.**", "**Look at.**", "**Do.**", "**Escalate**")


def mistakes(text: str, runbook: str) -> list[str]:
    """Alerts that do not say enough, or whose entry in the runbook is missing or lacks a part; and entries without an alert."""
    entries = dict(re.findall(r"^## (Ratemill\w+)\n(.*?)(?=^## |\Z)", runbook, re.MULTILINE | re.DOTALL))
    found = [f"{name}: no such alert" for name in entries.keys() - {rule["alert"] for rule in alerts(text)}]
    for rule in alerts(text):
        name, annotations = rule["alert"], rule.get("annotations", {})
        if rule.get("labels", {}).get("severity") not in ("page", "ticket"):
            found.append(f"{name}: severity")
        found += [f"{name}: {part}" for part in ("summary", "description") if not annotations.get(part)]
        if annotations.get("runbook_url") != f"docs/runbook.md#{name.lower()}":
            found.append(f"{name}: runbook_url")
        found += [f"{name}: the runbook lacks {part}" for part in PARTS if part not in entries.get(name, "")]
        if name in entries and "    ratemill " not in entries[name] and "    curl " not in entries[name] and "    grep " not in entries[name]:
            found.append(f"{name}: the runbook names no command")
    return found


def test_every_alert_is_complete_and_in_the_runbook() -> None:
    assert mistakes(RULES.read_text(), RUNBOOK.read_text()) == []


def test_commands_in_the_runbook_exist() -> None:
    from ratemill.cli.main import COMMANDS

    named = set(re.findall(r"^    ratemill ([a-z-]+)", RUNBOOK.read_text(), re.MULTILINE))
    assert named - COMMANDS.keys() == set()
    assert len(named) > 5


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda rules, book: (rules.replace("  severity: page", "  severity: loud", 1), book), 1),
        (lambda rules, book: (rules.replace("#ratemillstale", "#ratemill-stale"), book), 1),
        (lambda rules, book: (rules, book.replace("## RatemillStale\n", "## Stale\n")), 4),
        (lambda rules, book: (rules, book.replace("**Do.**", "", 1)), 1),
        (lambda rules, book: (rules, book + "\n## RatemillOther\n"), 1),
    ],
)
def test_what_is_missing_is_found(change: Any, count: int) -> None:
    assert len(mistakes(*change(RULES.read_text(), RUNBOOK.read_text()))) == count
