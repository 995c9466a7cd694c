"""`make chaos` as a person runs it: a short run is good, and the same run of a Ratemill without deduplication is not."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

TESTS = Path(__file__).parents[1]
LAST = re.compile(r"chaos seed=(\d+) faults=(\d+) events=(\d+) lost=(\d+) doubled=(\d+) mismatched=(\d+) recovered_s=\d+\.\d")


async def chaos(folder: Path, *arguments: str) -> tuple[int, re.Match[str]]:
    """Run it; the exit status and what the last line says."""
    path = os.pathsep.join([str(TESTS), str(TESTS / "integration")])
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chaos", *arguments, "--dir", str(folder),
        env=os.environ | {"PYTHONPATH": path}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(command.communicate(), 400)
    last = LAST.fullmatch(out.decode().splitlines()[-1])
    assert last is not None, f"{out.decode()}\n{err.decode()}"
    print(err.decode())
    return command.returncode or 0, last


async def test_a_short_run_is_good(tmp_path: Path) -> None:
    status, last = await chaos(tmp_path, "--seed", "10", "--seconds", "20")
    assert (status, last[4], last[5], last[6]) == (0, "0", "0", "0")
    assert int(last[2]) > 0
    assert not any(tmp_path.iterdir()), "a good run leaves nothing behind"


async def test_without_deduplication_it_is_not(tmp_path: Path) -> None:
    status, last = await chaos(tmp_path, "--seed", "10", "--seconds", "10", "--break", "no_dedupe")
    assert status == 1
    assert int(last[6]) > 0
    left = {path.name for path in next(tmp_path.iterdir()).iterdir()}
    assert {"report.json", "usage.rated.ndjson", "usage.dead-letter.ndjson"} <= left
