"""A local store in another schema is dropped: the changelogs hold all of it, and reading it could only be a guess."""

from __future__ import annotations

from pathlib import Path

from ratemill.streams import rocks
from ratemill.streams.core.store import Effects
from ratemill.streams.rocks import RocksStore

FILLED = Effects([], [(b"eaccount", b"1")], {b"i" * 16: b"f" * 8}, 7, [])


def filled(folder: Path) -> None:
    store = RocksStore(folder)
    store.write(FILLED, {"topic": 9})
    store.close()


def test_a_store_of_our_schema_is_kept(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    store = RocksStore(tmp_path / "s")
    assert (store.replaced, store.position("topic"), store.get(b"eaccount")) == (0, 9, b"1")
    assert store.seen([b"i" * 16]) == [b"f" * 8]
    store.close()


def test_a_store_that_says_nothing_has_the_first_schema(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    store = RocksStore(tmp_path / "s")
    del store._db[rocks._SCHEMA]
    store.close()
    store = RocksStore(tmp_path / "s")
    assert (store.replaced, store.position("topic")) == (0, 9)
    store.close()


def test_a_store_of_another_schema_is_dropped_and_read_from_the_changelogs(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    store = RocksStore(tmp_path / "s")
    store._db[rocks._SCHEMA] = b"2"
    store.close()
    store = RocksStore(tmp_path / "s")
    assert (store.replaced, store.position("topic"), store.get(b"eaccount")) == (2, 0, None)
    assert store.seen([b"i" * 16]) == [None]
    store.write(FILLED, {"topic": 3})
    store.close()
    store = RocksStore(tmp_path / "s")
    assert (store.replaced, store.position("topic"), store.get(b"eaccount")) == (0, 3, b"1")
    store.close()
