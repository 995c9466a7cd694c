"""The compiled loops give what the loops in Python give: the tests of those, run with a fresh build of them.

The checks are those of Python's own loops: against the definition, the encoder, and the oracle of the generated cases.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ratemill.streams.config import load_config

ROOT = Path(__file__).parents[2]
UNIT = (
    "schemas/test_plain_many.py",
    "schemas/test_decode_plain_form.py",
    "test_identity.py",
    "test_window_writer.py",
    "streams/test_filled_batches.py",
    "streams/test_recent_ids.py",
    "streams/test_runs.py",
    "native",
)
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")


def build(folder: Path, change: tuple[str, str] = ("", "")) -> Path:
    """The compiled module, with a change in its source."""
    old, new = change
    (folder / "native").mkdir(parents=True)
    changed = 0
    for file in [*(ROOT / "native").glob("*.pyx"), *(ROOT / "native").glob("*.pxi")]:
        source = file.read_text(encoding="utf-8")
        changed += old in source
        (folder / "native" / file.name).write_text(source.replace(old, new, 1) if old else source, encoding="utf-8")
    assert changed == 1 or not old
    shutil.copy(ROOT / "setup.py", folder)
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


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("native"))


def test_the_build_is_what_runs(native: Path) -> None:
    told = "from ratemill.schemas.usage_event import hot, identify_many as i; print(hot.__file__, i.__module__)"
    ran = subprocess.run([sys.executable, "-c", told], env=os.environ | {"RATEMILL_NATIVE": str(native)}, capture_output=True, text=True, timeout=60)
    assert ran.stdout.split() == [str(native), "ratemill.native._hot"]


def test_zero_leaves_it_out() -> None:
    told = "from ratemill.schemas.usage_event import hot; print(hot)"
    ran = subprocess.run([sys.executable, "-c", told], env=os.environ | {"RATEMILL_NATIVE": "0"}, capture_output=True, text=True, timeout=60)
    assert ran.stdout.split() == ["None"]


@pytest.mark.parametrize("asked", ["0", "1"])
def test_the_choice_is_no_setting_that_the_configuration_refuses(asked: str) -> None:
    assert load_config(environment={"RATEMILL_NATIVE": asked}).kafka.bootstrap


def test_decoding_identities_and_line_items_are_those_of_python(native: Path) -> None:
    ran = pytest_with(native, *(f"tests/unit/{name}" for name in UNIT))
    assert ran.returncode == 0, ran.stdout[-3_000:]


def test_generated_histories_end_where_the_definition_says(native: Path) -> None:
    ran = pytest_with(native, "tests/property/generated/test_generated_cases.py", cases=150)
    assert ran.returncode == 0, ran.stdout[-3_000:]


def test_workers_that_are_killed_lose_nothing(native: Path) -> None:
    """Whole workers, on Kafka: image and chart run them compiled."""
    killed = "tests/integration/test_kill_at_each_step.py::test_kill_in_a_commit"
    ran = pytest_with(native, f"{killed}[before_commit]", f"{killed}[after_swap]", "tests/integration/test_exactly_once.py", "-k", "kill or disk")
    assert ran.returncode == 0, ran.stdout[-3_000:]


BROKEN = {
    "what a window held is forgotten": ("if not _sum(&c.held, &c.pending, &c.held):", "c.held = c.pending\n                if False:"),
    "another provider changes nothing": ("relabelled = c.held_too and provider != c.held_provider", "relabelled = False"),
    "nothing is withdrawn": ("items.append(rating._withdrawn(", "print(rating._withdrawn("),
    "a tier of no width is charged": ("if _is_beyond(&bounds[tier], &at):", "if True:"),
    "a mark never moves": ("reached, mark = reached + 1, key", "reached, mark = reached + 1, mark or key"),
    "what was restated is not held": ("_sum(&c.held, &c.pending, &c.held)\n                else", "pass\n                else"),
    "a bound is passed unseen": ("and not beyond", "or beyond"),
    "a late event is put behind the mark": ("if g.reached and self._key", "if False and self._key"),
    "an amount without room is dropped": ("self._add_more(cell, _as_decimal(&r.quantity))", "pass"),
    "the first provider stays": ("return first if self._providers[first] < self._providers[second] else second", "return first"),
    "a trimmed group keeps its old windows' numbers": ("self._generation += 1", "pass"),
    "forgotten prices stay": ("self._groups[i].who, self._groups[i].commit = NOBODY, 0", "pass"),
    "a draft is told what came, not what was there": ("_as_decimal(&self._cells[at].held) if", "_as_decimal(&self._cells[at].pending) if"),
    "a draft is told of nothing where there was no window": ("if self._cells[at].held_too else None)", "if True else None)"),
    "a draft is told of what it does not want": ("if not watch.wants(key):", "if False:"),
    "a draft is told twice of what is left to Python": ("                seen = None\n", ""),
}


def noticed(folder: Path, change: tuple[str, str], *tests: str) -> None:
    """Negative control: tests fail with a build in which this was changed."""
    ran = pytest_with(build(folder, change), *tests)
    assert ran.returncode == 1, ran.stdout[-3_000:]  # 1: tests failed; anything else: they did not run


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_loop_is_noticed(tmp_path: Path, broken: str) -> None:
    noticed(tmp_path, BROKEN[broken], "tests/unit/native/test_windows.py")


def test_a_table_that_loses_identities_is_noticed(tmp_path: Path) -> None:
    """When the table grows, the last identity is left out of its index."""
    loop = "for i in range(self._count):\n            at = self._slot(items"
    noticed(tmp_path, (loop, loop.replace("self._count", "self._count - 1")), "tests/unit/streams/test_recent_ids.py", "-k", "dict")


BROKEN_RUNS = {
    "the filter forgets a bit": ("i < 6; i++, bits >>= 9) block[", "i < 5; i++, bits >>= 9) block["),
    "what a later run has is passed over": ("readers[from_].at += 1\n            if order <= 0:", "readers[i].at += 1\n            if order < 0:"),
    "a page is not checked": ("if _spread(to, items * ITEM, page) == pages.sums[page] else -2", "if True else -2"),
    "nor is an index": ("if self._checksum() != footer.checksum:", "if False:"),
    "a page that begins with the same bytes is the only one": ("if self._firsts[low] != first:", "if True:"),
    "the last page is not whole": ("if over:", "if False:"),
}


@pytest.mark.parametrize("broken", BROKEN_RUNS)
def test_a_broken_run_is_noticed(tmp_path: Path, broken: str) -> None:
    noticed(tmp_path, BROKEN_RUNS[broken], "tests/unit/streams/test_runs.py")
