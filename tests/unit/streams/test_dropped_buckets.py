"""Identities that are forgotten leave the disk, whole buckets at a time, and nothing else goes with them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from ratemill.schemas.usage_event import hot
from ratemill.streams.core.store import ENTRY, Effects
from ratemill.streams.rocks import CACHE_BYTES, RocksStore

IDS = 60_000  # of each bucket


def _ids(bucket: int) -> dict[bytes, bytes]:
    rng = random.Random(bucket)
    return {rng.randbytes(16): rng.randbytes(8) for _ in range(IDS)}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for kind in ("*.sst", "*.run") for file in folder.rglob(kind))


def _fill(store: RocksStore, buckets: range) -> None:
    for bucket in buckets:
        store.write(Effects([], [(ENTRY + b"%d" % bucket, b"1")], _ids(bucket), bucket, []), {"dedupe": bucket})


@pytest.mark.parametrize("kept", [1, 4])
def test_dropped_buckets_give_their_disk_back(tmp_path: Path, kept: int) -> None:
    folder = tmp_path / "s"
    store = RocksStore(folder)
    _fill(store, range(100, 106))
    store.close()  # in files, not only in memory
    store = RocksStore(folder)
    store.forget(106 - kept)
    store.close()
    assert kept * IDS * 24 < _size(folder) < kept * IDS * 40  # hash, fingerprint, index and filter


def test_what_is_kept_is_still_there(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "s")
    _fill(store, range(100, 104))
    store.forget(102)
    _fill(store, range(104, 105))  # while the disk is given back
    gone, kept = ([i for bucket in buckets for i in list(_ids(bucket))[:100]] for buckets in ((100, 101), (102, 103, 104)))
    for _ in range(2):
        assert store.seen(gone) == [None] * len(gone)
        assert None not in store.seen(kept)
        assert len(list(store.prefixes(b""))) == 5
        assert store.position("dedupe") == 104
        store.close()
        store = RocksStore(tmp_path / "s")
    store.close()


@pytest.mark.skipif(hot is not None, reason="no identity is read through RocksDB then")
def test_what_is_read_back_is_kept_in_memory_up_to_a_bound(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "s")
    for bucket in range(100, 105):
        _fill(store, range(bucket, bucket + 1))
    store.close()
    store = RocksStore(tmp_path / "s")
    for bucket in range(100, 105):
        store.seen(list(_ids(bucket)))
    used = store._db.property_int_value("rocksdb.block-cache-usage")
    store.close()
    assert CACHE_BYTES // 2 < used <= CACHE_BYTES
