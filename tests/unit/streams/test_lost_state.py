"""State of partitions that went to other workers is kept for a while, and then deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from ratemill.streams.lost_state import LostState


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("rate-0", "rate-1", "rate-2", "other"):
        (tmp_path / "state" / name).mkdir(parents=True)
        (tmp_path / "state" / name / "000001.sst").write_bytes(b"x")
    return tmp_path / "state"


def here(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def end(lost: LostState, now: float) -> list[str]:
    """Delete what is due; returns it."""
    due = lost.due(now)
    for lane in due:
        lost.drop(lane)
        lost.delete(lane)
    return due


def test_only_what_is_lost_goes_and_only_after_its_time(folder: Path) -> None:
    lost = LostState(folder, 3_600)
    lost.assigned({"rate-0": 1, "rate-1": 1, "index-2": 1}, 100.0)
    assert end(lost, 3_699.0) == []
    lost.assigned(["rate-0"], 2_000.0)
    assert end(lost, 3_700.0) == ["rate-2"]
    assert here(folder) == ["other", "rate-0", "rate-1"]
    assert end(lost, 5_600.0) == ["rate-1"]
    assert end(lost, 1e9) == []
    assert here(folder) == ["other", "rate-0"]


def test_what_comes_back_in_time_is_kept_and_its_time_begins_anew(folder: Path) -> None:
    lost = LostState(folder, 3_600)
    lost.assigned([], 0.0)
    lost.assigned(["rate-0", "rate-1", "rate-2"], 3_599.0)
    lost.assigned(["rate-0"], 3_700.0)
    assert end(lost, 7_299.0) == []
    assert end(lost, 7_300.0) == ["rate-1", "rate-2"]


def test_what_was_half_deleted_goes_too(folder: Path) -> None:
    LostState(folder, 0).drop("rate-1")  # and the process ends here
    assert here(folder) == ["other", "rate-0", "rate-1.gone", "rate-2"]
    lost = LostState(folder, 0)
    lost.assigned(["rate-0", "rate-1"], 5.0)
    assert end(lost, 5.0) == ["rate-1.gone", "rate-2"]
    assert here(folder) == ["other", "rate-0"]


def test_a_worker_without_state_has_nothing_to_lose(tmp_path: Path) -> None:
    lost = LostState(tmp_path / "state", 0)
    lost.assigned(["index-0"], 5.0)
    assert lost.due(1e9) == []
