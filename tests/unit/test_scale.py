"""docs/scale.md: its table is what its model prints, and what it says about moving partitions is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ratemill.streams.assignor import spread

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_the_table_is_what_the_model_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    (model,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    said = subprocess.run([sys.executable, "-I", "-c", model], capture_output=True, text=True, timeout=60, check=True).stdout
    assert len(said.splitlines()) == 12
    assert said in page
    other = model.replace("DOCUMENTS = 4_000", "DOCUMENTS = 8_000")
    assert subprocess.run([sys.executable, "-I", "-c", other], capture_output=True, text=True, timeout=60, check=True).stdout not in page


def staying(before: list[str], after: list[str], partitions: int = 64) -> float:
    """Share of the partitions that stay with their worker."""

    def owners(names: list[str]) -> dict[int, str]:
        held = spread({"t": range(partitions)}, {name: ["t"] for name in names}, {name: name.encode() for name in names}, frozenset({"t"}))
        return {number: name for name, topics in held.items() for number in topics.get("t", [])}

    old, new = owners(before), owners(after)
    return sum(old[number] == new[number] for number in range(partitions)) / partitions


def test_doubling_the_workers_leaves_half_of_the_state_where_it_is() -> None:
    def pods(count: int, start: int = 100) -> list[str]:
        return [f"shop-ratemill-worker-{number}" for number in range(start, start + count)]

    assert [staying(pods(n), pods(2 * n)) for n in (2, 4, 8, 16)] == [0.5] * 4
    assert [staying(pods(n), pods(n + 1)) for n in (4, 8)] == [0.25, 0.125]
    assert staying(pods(8, 0), pods(16, 0)) == 0.125  # why ordinals do not begin at 0: names are ordered as texts
    away = [staying(pods(16), [name for name in pods(16) if name != gone]) for gone in pods(16)]
    assert (min(away), round(max(away), 2)) == (0, 0.23)
