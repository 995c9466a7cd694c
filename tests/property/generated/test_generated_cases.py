"""Confluence and exact sums over generated tariffs and histories: what CONTRIBUTING.md calls the generated cases.

    TESTS_CASES=50000 TESTS_SEED=7 pytest tests/property/generated     (make nightly)

Without them: 1,000 cases, always the same, 250 of a profile; each of the broken cores of test_negative_controls.py is caught within 15.
A failure says its seed and profile, and how to make a small case of it.
"""

from __future__ import annotations

import os

import pytest

from generated.cases import run_case
from generated.worlds import PROFILES

CASES = int(os.environ.get("TESTS_CASES", "1000"))
SEED = int(os.environ.get("TESTS_SEED", "1")) * 1_000_000
SHARE = -(-CASES // len(PROFILES))


@pytest.mark.parametrize("profile", [profile.name for profile in PROFILES])
def test_any_delivery_of_a_history_ends_in_the_same_exact_line_items(profile: str) -> None:
    print(f"{SHARE} cases of {profile}, seeds from {SEED}")
    for seed in range(SEED, SEED + SHARE):
        try:
            run_case(seed, profile)
        except Exception as error:
            error.add_note(f"seed {seed}, profile {profile}; to make it small: cd tests/property && python -m generated.shrink {seed} {profile}")
            raise
