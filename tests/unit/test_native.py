"""The compiled loops give what the loops in Python give: the tests of those, run with a fresh build of them.

The checks are those of Python's own loops: against the definition, the encoder, and the oracle of the generated cases.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from native_builds import build, needs_compiler, pytest_with
from ratemill.streams.config import load_config

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
pytestmark = needs_compiler


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
