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
    other = model.replace("DOCUMENTS = 13_500", "DOCUMENTS = 27_000")
    assert subprocess.run([sys.executable, "-I", "-c", other], capture_output=True, text=True, timeout=60, check=True).stdout not in page


def staying(before: list[str], after: list[str], partitions: int = 64) -> float:
    """Share of the partitions that stay with their worker."""

    def owners(names: list[str]) -> dict[int, str]:
        held = spread({"t": range(partitions)}, {name: ["t"] for name in names}, {name: name.encode() for name in names}, frozenset({"t"}))
        return {number: name for name, topics in held.items() for number in topics.get("t", [])}

    old, new = owners(before), owners(after)
    return sum(old[number] == new[number] for number in range(partitions)) / partitions


def test_how_much_of_the_state_stays_where_it_is() -> None:
    """The shares that docs/scale.md names, of 64 partitions."""

    def pods(count: int) -> list[str]:
        return [f"shop-ratemill-worker-{number}" for number in range(count)]

    def away(count: int) -> list[float]:
        return [staying(pods(count), [name for name in pods(count) if name != gone]) for gone in pods(count)]

    moved = {f"{n} to {more}": round(100 * (1 - staying(pods(n), pods(more)))) for n, more in ((4, 5), (8, 9), (4, 8), (8, 16))}
    away_of_16 = [round(100 * (1 - share)) for share in away(16)]
    page = PAGE.read_text(encoding="utf-8")
    for said in (
        f"From 4 workers to 5 {moved['4 to 5']}% of 64 partitions move (20% must), from 8 to 9 {moved['8 to 9']}% (11% must)",
        f"from 4 to 8 {moved['4 to 8']}% and from 8 to 16 {moved['8 to 16']}% (50% must)",
        f"of 16 workers with 64 partitions, one away: {min(away_of_16)} to {max(away_of_16)}%, 6% must",
    ):
        assert said in page, said
