"""The session's own watch for secrets in captured output sees what it must see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"
TEST = """
import logging

def test_prints(): print("canary-1")
def test_logs(): logging.getLogger("x").warning("canary-2")
def test_neither(): print("nothing")
"""


def test_a_test_that_prints_a_secret_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "test_some.py").write_text(TEST, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", f"pythonpath={CONFTEST.parent}", str(tmp_path)]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "2 failed, 1 passed" in said.stdout, said
    assert all(text in said.stdout for text in ("Captured stdout call: canary-1", "canary-2"))
