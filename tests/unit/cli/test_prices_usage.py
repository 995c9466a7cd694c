"""What the changelog of windows is read into: one month, the last word of each key, on the disk when there is much."""

from __future__ import annotations

from pathlib import Path

import pytest
from ratemill.cli import prices_usage
from ratemill.cli.prices_usage import month_of_key
from ratemill.schemas.control import month_number
from ratemill.streams.core.items import GroupKey, entry_key, group_prefix
from ratemill.streams.core.store import ENTRY, TALLY

OCTOBER, SEPTEMBER = month_number("2026-10"), month_number("2026-09")


def key(number: int, month: int = OCTOBER) -> bytes:
    # The month's four bytes hold a NUL, and so may the window's start: neither separates anything.
    return ENTRY + group_prefix(GroupKey("acct", "sku", "GB", month)) + entry_key(1_790_000_000 + 3_600 * number, "eu", f"vm-{number}", "")


def test_the_month_is_read_from_the_key() -> None:
    assert month_of_key(key(1)) == OCTOBER
    assert month_of_key(key(1, SEPTEMBER)) == SEPTEMBER
    assert month_of_key(TALLY + b"anything") is None
    assert month_of_key(ENTRY + b"too\0short") is None


@pytest.mark.parametrize("in_memory", [1_000, 3, 0])
def test_one_month_and_the_last_word_of_each_key(in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices_usage, "_IN_MEMORY", in_memory)
    keeper = prices_usage._Keeper(OCTOBER, tmp_path)
    log: list[tuple[bytes | None, bytes | None]] = [(key(n), b"1\0aws") for n in range(10)]
    log += [(key(n, SEPTEMBER), b"1\0aws") for n in range(5)]
    log += [(key(3), b"7\0aws"), (key(4), None), (None, b"x"), (TALLY + b"x", b"y"), (key(5), None), (key(5), b"2\0gcp")]
    for at in range(0, len(log), 4):
        keeper.take(log[at : at + 4])
    usage = keeper.usage("here")
    assert (usage.windows, usage.other_months, usage.source) == (9, ("2026-09",), "here")
    kept = {stored: usage.store.get(stored) for stored in usage.store.prefixes(ENTRY)}
    assert kept == {key(n): b"1\0aws" for n in range(10) if n != 4} | {key(3): b"7\0aws", key(5): b"2\0gcp"}
    assert (tmp_path / "windows").exists() == (in_memory < 10)
    keeper.close()
