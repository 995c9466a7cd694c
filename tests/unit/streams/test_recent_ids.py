"""Identities wait in memory and go to the disk many at a time: none is missing at any time, and a crash costs only what is read again."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import store_lives
from ratemill.schemas.usage_event import hot
from ratemill.streams import rocks
from ratemill.streams.core import store as store_module
from ratemill.streams.core.store import Effects, ids_of, pack_ids, unpack_ids
from ratemill.streams.rocks import RocksStore
from store_lives import AT_ONCE, Log, some


@pytest.fixture(params=["python", pytest.param("compiled", marks=pytest.mark.skipif(hot is None, reason="not compiled"))], autouse=True)
def tables(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(rocks, "hot", None)
        monkeypatch.setattr(store_module, "hot", None)


def taken(ids: dict[bytes, bytes]) -> Any:
    """Identities as a commit has them."""
    return ids_of(pack_ids(ids))


def test_none_is_missing_at_any_time_and_all_are_there_after_a_restart(tmp_path: Path) -> None:
    log, rng = Log(1), random.Random(1)
    store = RocksStore(tmp_path / "s", recent_ids=AT_ONCE)
    for number in range(1, 61):
        log.write(store, number)
        assert log.missing(store, number, number) == 0
        assert store.seen(list(some(rng, 50))) == [None] * 50
    store.close()
    store = RocksStore(tmp_path / "s", recent_ids=AT_ONCE)
    assert store._recent.buckets == []
    assert log.missing(store, 60, 60) == 0
    assert (store.position("dedupe"), store.position("windows")) == (60, 60)
    store.close()


def lives(folder: Path, seed: int, *how: str) -> tuple[int, int, int]:
    """Over the lives of processes that all die: identities missing below the positions on the disk, records read again, damaged stores."""
    environment = os.environ | ({} if rocks.hot is not None else {"RATEMILL_NATIVE": "0"})
    command = [sys.executable, str(Path(store_lives.__file__)), str(folder), str(seed), *how]
    ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120)
    missing, again, damaged = map(int, ran.stdout.split())
    return missing, again, damaged


@pytest.mark.parametrize("seed", range(3))
def test_a_position_on_the_disk_never_says_more_than_is_there(tmp_path: Path, seed: int) -> None:
    missing, again, damaged = lives(tmp_path / "s", seed)
    assert (missing, damaged) == (0, 0)
    assert again > 0  # or nobody died with something in memory


@pytest.mark.skipif(rocks.hot is None, reason="not compiled")
@pytest.mark.parametrize("seed", range(6))
def test_a_process_may_die_at_any_step_of_writing_and_merging(tmp_path: Path, seed: int) -> None:
    missing, again, damaged = lives(tmp_path / "s", seed, "at-any-step")
    assert (missing, damaged) == (0, 0)
    assert again > 0


def test_positions_that_do_not_wait_are_noticed(tmp_path: Path) -> None:
    """Negative control: the position goes to the disk with the entries, while identities are in memory still."""
    assert lives(tmp_path / "s", 1, "positions-at-once")[0] > 100


def test_the_newest_bucket_has_the_last_word(tmp_path: Path) -> None:
    hash_ = b"h" * 16
    store = RocksStore(tmp_path / "s", recent_ids=AT_ONCE)
    for bucket, print_ in ((7, b"f" * 8), (8, b"g" * 8)):
        store.write(Effects((), [], taken({hash_: print_}), bucket, []), {})
        assert store.seen([hash_]) == [print_]
        store.flush()
        assert store.seen([hash_]) == [print_]
    store.write(Effects((), [], taken({hash_: b"e" * 8}), 7, []), {})
    assert store.seen([hash_]) == [b"g" * 8]
    store.write(Effects((), [], taken({hash_: b"i" * 8}), 8, []), {})
    assert store.seen([hash_]) == [b"i" * 8]  # in the same bucket, in memory above disk
    store.close()


def test_what_is_forgotten_is_forgotten_in_memory_too(tmp_path: Path) -> None:
    rng = random.Random(4)
    store = RocksStore(tmp_path / "s", recent_ids=10_000)
    old, new = some(rng, 100), some(rng, 100)
    store.write(Effects((), [], taken(old), 7, []), {})
    store.write(Effects((), [], taken(new), 8, []), {})
    store.forget(8)
    assert store.seen(list(old)) == [None] * 100
    assert store.seen(list(new)) == list(new.values())
    store.close()


def test_a_disk_that_does_not_take_them_is_told(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "s", recent_ids=10)
    name = "incoming.sst" if rocks.hot is None else "identities/00000007.00000000-00000000.new"
    (tmp_path / "s" / name).mkdir()
    store.write(Effects((), [], taken(some(random.Random(1), 20)), 7, []), {"dedupe": 1})
    with pytest.raises(Exception, match=re.escape(name)):  # rocksdict raises nothing more special
        store.flush()
    (tmp_path / "s" / name).rmdir()


@pytest.mark.skipif(hot is None, reason="not compiled")
@pytest.mark.parametrize("seed", range(20))
def test_the_compiled_table_is_a_dict(seed: int) -> None:
    rng = random.Random(seed)
    table, plain = hot.Identities(), {}
    known: list[bytes] = []
    for _ in range(rng.choice((10, 300, 3_000))):
        # Hashes whose first bytes agree go to the same slot.
        hash_ = rng.choice(known) if known and rng.random() < 0.3 else rng.choice((b"\0" * 8, b"\1" * 8, rng.randbytes(8))) + rng.randbytes(8)
        known.append(hash_)
        print_ = rng.randbytes(8)
        does = rng.random()
        if does < 0.8:
            new = hash_ not in plain
            assert table.setdefault(hash_, print_) == plain.setdefault(hash_, print_)
            if new and rng.random() < 0.1:
                table.pop(hash_)
                del plain[hash_]
        else:
            table.update({hash_: print_})
            plain.update({hash_: print_})
    check(table, plain)
    check(hot.Identities(pack_ids(plain)), plain)
    other = hot.Identities(table)
    other.update(hot.Identities({b"x" * 16: b"y" * 8}))
    check(other, plain | {b"x" * 16: b"y" * 8})


def check(table: Any, plain: dict[bytes, bytes]) -> None:
    assert dict(table.items()) == dict(table) == plain
    assert (len(table), table.packed()) == (len(plain), pack_ids(plain))
    assert dict(unpack_ids(table.packed())) == plain
    asked = [*plain, b"n" * 16]
    found: list[bytes | None] = [None] * len(asked)
    assert hot.fill([table], asked, found) == 1
    assert found == [*plain.values(), None]
    with pytest.raises(KeyError):
        table.pop(b"n" * 16)
