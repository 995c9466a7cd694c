"""What the changelog of windows is read into: what is wanted, the last word of each key, on the disk when there is much."""

from __future__ import annotations

from pathlib import Path

import pytest
from ratemill.cli import prices_usage
from ratemill.cli.prices_usage import Wanted, group_of_key
from ratemill.schemas.control import month_number
from ratemill.streams.core.items import GroupKey, entry_key, group_prefix
from ratemill.streams.core.store import ENTRY, SHADOW

OCTOBER, SEPTEMBER = month_number("2026-10"), month_number("2026-09")


def key(number: int, month: int = OCTOBER) -> bytes:
    # The month's four bytes hold a NUL, and so may the window's start: neither separates anything.
    return ENTRY + group_prefix(GroupKey("acct", "sku", "GB", month)) + entry_key(1_790_000_000 + 3_600 * number, "eu", f"vm-{number}", "")


def test_the_group_is_read_from_the_key() -> None:
    assert group_of_key(key(1)) == ("acct", "sku", "GB", OCTOBER)
    assert group_of_key(key(1, SEPTEMBER)) == ("acct", "sku", "GB", SEPTEMBER)
    assert group_of_key(SHADOW + key(1)[1:]) is None
    assert group_of_key(ENTRY + b"too\0short") is None


@pytest.mark.parametrize("in_memory", [1_000, 3, 0])
def test_what_is_wanted_and_the_last_word_of_each_key(in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices_usage, "_IN_MEMORY", in_memory)
    keeper = prices_usage._Keeper(Wanted(lambda group: group.month == OCTOBER), tmp_path)
    log: list[tuple[bytes | None, bytes | None]] = [(key(n), b"1\0aws") for n in range(10)]
    log += [(key(n, SEPTEMBER), b"1\0aws") for n in range(5)]
    log += [(key(3), b"7\0aws"), (key(4), None), (key(6), b""), (None, b"x"), (SHADOW + b"x", b"y"), (key(5), None), (key(5), b"2\0gcp")]
    for at in range(0, len(log), 4):
        keeper.take(log[at : at + 4])
    usage = keeper.usage("here")
    assert (usage.windows, usage.others, usage.source) == (8, ("2026-09",), "here")
    kept = {stored: usage.store.get(stored) for stored in usage.store.prefixes(ENTRY)}
    assert kept == {key(n): b"1\0aws" for n in range(10) if n not in (4, 6)} | {key(3): b"7\0aws", key(5): b"2\0gcp"}
    assert (tmp_path / "now").exists() == (in_memory < 10)
    keeper.close()


def test_earlier_usage_is_kept_apart_where_it_is_wanted(tmp_path: Path) -> None:
    keeper = prices_usage._Keeper(Wanted(lambda group: group.month == OCTOBER, lambda group: group.month < OCTOBER), tmp_path)
    keeper.take([(key(1), b"1\0"), (key(2, SEPTEMBER), b"2\0"), (key(3, OCTOBER + 1), b"3\0")])
    usage = keeper.usage("here")
    assert list(usage.store.prefixes(ENTRY)) == [key(1)]
    assert list(usage.before.prefixes(ENTRY)) == [key(2, SEPTEMBER)]
    assert usage.others == ("2026-09", "2026-11")
