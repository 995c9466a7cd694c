"""`ratemill top`: what its table shows, and in how little room."""

from __future__ import annotations

import io

import pytest
from ratemill.cli.top import view
from ratemill.schemas.pipeline import Conservation, LaneHealth, PipelineHealth
from rich.console import Console

BALANCED = Conservation(True, 0, 123_456_789, 123_456_000, 700, 89)
ROWS = [
    LaneHealth("normalize", f"a-long-prefix.of-somebody.usage.raw.{topic}", n, n, 0.25 * n, 1234.5)
    for topic in ("aws", "gcp", "azure", "cloudevents") for n in range(4)
]  # fmt: skip
WORST = LaneHealth("index", "usage.rated", 3, 1_234_567, 7_300.0, 0.0)


def health(lanes: list[LaneHealth], kept: Conservation = BALANCED, notes: list[str] | None = None) -> PipelineHealth:
    return PipelineHealth(
        status="stale", freshness_s=7_300.0, lag_s=7_300.0, lag_records=1_234_600, dead_letters_last_hour=12, dead_letters_last_day=3_456,
        unpriced=7, oldest_unpriced_s=86_400.0, lanes=lanes, conservation=kept, notes=notes or [],
    )  # fmt: skip


def shown(health: PipelineHealth, trouble: list[str], room: int | None = None, color: bool = False) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=color, color_system="standard" if color else None)
    console.print(view(health, trouble, room))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_it_fits_80_columns_and_says_all() -> None:
    text = shown(health([*ROWS, WORST]), [])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    for part in ("stale", "2 h", "1,234,567", "12 in an hour", "3,456 in a day", "without a price 7", "123,456,000 counted", "1,234.5"):
        assert part in text, part
    assert sum("normalize" in line for line in lines) == len(ROWS)


def test_the_worst_partition_stays_in_sight() -> None:
    text = shown(health([*ROWS, WORST]), [], 3)
    assert "1,234,567" in text
    assert "and 14 that are less behind" in text
    assert sum("normalize" in line for line in text.splitlines()) == 2


def test_the_worst_partition_stands_out() -> None:
    (red,) = [line for line in shown(health([*ROWS, WORST]), [], color=True).splitlines() if "\x1b[1;31m" in line]
    assert "1,234,567" in red
    none_waits = LaneHealth("index", "usage.rated", 3, 0, 0.0, 0.0)
    assert "\x1b[1;31m" not in shown(health([none_waits]), [], color=True)


def test_what_is_not_known_is_worse_than_anything_known() -> None:
    unknown = LaneHealth("rate", "usage.events", 1, 0, None, None)
    assert " ? " in shown(health([*ROWS, WORST, unknown]), [], 1) + " "


@pytest.mark.parametrize("trouble", [["Kafka at k:9092 does not answer"], []])
def test_what_is_away_is_said(trouble: list[str]) -> None:
    text = shown(PipelineHealth(status="stale", freshness_s=None, notes=["Kafka does not answer"]), trouble)
    assert (trouble or ["Kafka does not answer"])[0] in text
    assert "freshness ?" in text


def test_a_lane_that_does_not_balance_is_named() -> None:
    assert "does not add up: rate-7 from t" in shown(health([WORST], Conservation(False, 2, 5, 2, 1, 0, ["rate-7 from t"])), [])
