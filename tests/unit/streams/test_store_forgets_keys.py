"""A value of None takes a key out of a store, in memory and on disk alike, and stays out when the disk is opened again."""

from __future__ import annotations

from pathlib import Path

import pytest
from ratemill.streams.core.store import ENTRY, Effects, MemoryStore
from ratemill.streams.rocks import RocksStore


def effects(*puts: tuple[bytes, bytes | None]) -> Effects:
    return Effects((), list(puts), {}, 0, [])


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_key_without_value_is_gone(kind: str, tmp_path: Path) -> None:
    store = MemoryStore() if kind == "memory" else RocksStore(tmp_path / "s")
    store.apply(effects((ENTRY + b"a", b"1"), (ENTRY + b"b", b"2")))
    store.apply(effects((ENTRY + b"a", None), (ENTRY + b"c", None)))
    assert store.get(ENTRY + b"a") is None
    assert store.scan(ENTRY) == [(b"b", b"2")]
    # In one commit, the last word counts.
    store.apply(effects((ENTRY + b"b", None), (ENTRY + b"b", b"3"), (ENTRY + b"d", b"4"), (ENTRY + b"d", None)))
    assert store.scan(ENTRY) == [(b"b", b"3")]


def test_it_stays_gone(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "s")
    store.apply(effects((ENTRY + b"a", b"1")))
    store.close()
    store = RocksStore(tmp_path / "s")
    store.apply(effects((ENTRY + b"a", None)))
    store.close()
    store = RocksStore(tmp_path / "s")
    assert store.scan(ENTRY) == []
    store.close()
