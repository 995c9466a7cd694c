"""docs/operations.md lists every metric and every reason, as they are in the code."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase
from ratemill.schemas.errors import Reason
from ratemill.streams.metrics import Metrics

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")


def metrics_in_code() -> dict[str, tuple[str, ...]]:
    found = [value for value in vars(Metrics()).values() if isinstance(value, MetricWrapperBase)]
    suffix = {"counter": "_total"}
    return {metric._name + suffix.get(metric._type, ""): tuple(metric._labelnames) for metric in found}


def metrics_in(page: str) -> dict[str, tuple[str, ...]]:
    rows = re.findall(r"^\| `(ratemill_\w+)` \|([^|]*)\|", page, re.MULTILINE)
    return {name: tuple(label.strip() for label in labels.split(",") if label.strip()) for name, labels in rows}


def test_every_metric_is_explained() -> None:
    assert metrics_in(PAGE) == metrics_in_code()


def test_every_reason_is_explained() -> None:
    section = PAGE.split("## Dead letters")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == {reason.value for reason in Reason}


def test_a_metric_that_is_not_there_is_found() -> None:
    assert metrics_in("| `ratemill_x_total` | a, b | text | |\n") == {"ratemill_x_total": ("a", "b")}
