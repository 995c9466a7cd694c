"""Builds of the compiled loops, whole and broken, and runs of tests with them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["build", "needs_compiler", "noticed", "pytest_with"]

ROOT = Path(__file__).parents[1]
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")


def build(folder: Path) -> Path:
    """The compiled module, as `make native` builds it."""
    return _build(folder, ("", ""), "-O2")


def _build(folder: Path, change: tuple[str, str], optimized: str) -> Path:
    """The compiled module, with a change in its source."""
    old, new = change
    (folder / "native").mkdir(parents=True)
    changed = 0
    for file in [*(ROOT / "native").glob("*.pyx"), *(ROOT / "native").glob("*.pxi")]:
        source = file.read_text(encoding="utf-8")
        changed += old in source
        (folder / "native" / file.name).write_text(source.replace(old, new, 1) if old else source, encoding="utf-8")
    assert changed == 1 or not old
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "-O2" in setup
    (folder / "setup.py").write_text(setup.replace("-O2", optimized), encoding="utf-8")
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", "lib", "--build-temp", "objects"]
    subprocess.run(command, cwd=folder, env=os.environ | {"RATEMILL_NATIVE": "1"}, check=True, capture_output=True, timeout=600)
    (found,) = (folder / "lib").rglob("_hot*")
    return found


def pytest_with(native: Path, *arguments: str, cases: int = 0) -> subprocess.CompletedProcess[str]:
    """A run of tests in a process of their own, with this build."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"RATEMILL_NATIVE": str(native), "TESTS_CASES": str(cases)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


def noticed(folder: Path, change: tuple[str, str], *tests: str) -> None:
    """Negative control: tests fail with a build in which this was changed."""
    ran = pytest_with(_build(folder, change, "-O0"), *tests)  # built in half the time
    assert ran.returncode == 1, ran.stdout[-3_000:]  # 1: tests failed; anything else: they did not run
