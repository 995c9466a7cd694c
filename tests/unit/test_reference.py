"""The reference in docs/reference is what the code says today. `python tools/reference.py` writes it anew."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from loading import load

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return load(ROOT / "tools" / "reference.py", "reference")


@pytest.mark.parametrize("name", ["commands.md", "metrics.md", "topics.md", "errors.md"])
def test_the_page_is_what_the_code_says(reference: ModuleType, name: str) -> None:
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == reference.PAGES[name](), "run: python tools/reference.py"


def test_all_pages_are_compared(reference: ModuleType) -> None:
    assert {path.name for path in (ROOT / "docs" / "reference").iterdir()} == set(reference.PAGES)


def test_metrics_are_found_however_they_are_made(reference: ModuleType) -> None:
    source = """
a = Counter("ratemill_a_total", "One.", ["x", "y"], registry=r)
b = prometheus_client.Gauge("ratemill_b", "Two.")
c = GaugeMetricFamily("ratemill_c_seconds", "Three.", labels=["z"])
for name, text, value in (("ratemill_d", "Four.", 4),):
    Gauge(name, text)
print("ratemill_e", name)
"""
    found = list(reference._metrics_in(reference.ast.parse(source)))
    assert sorted(found) == [
        ("counter", "ratemill_a_total", "One.", ["x", "y"]), ("gauge", "ratemill_b", "Two.", []),
        ("gauge", "ratemill_c_seconds", "Three.", ["z"]), ("gauge", "ratemill_d", "Four.", []),
    ]  # fmt: skip


def test_the_worker_shows_every_metric_that_is_listed_for_it(reference: ModuleType) -> None:
    """From the other side: what the registry of a worker holds, and not what its source says."""
    from ratemill.streams.metrics import Metrics

    held = {family.name for family in Metrics().registry.collect()}
    listed = reference.metrics().split("## `ratemill worker`")[1].split("\n## ")[0]
    assert held
    assert {name for name in held if f"| `{name}` |" not in listed and f"| `{name}_total` |" not in listed} == set()
