"""A local store in another schema, or a damaged one, is dropped: the changelogs hold all of it, and reading it could only be a guess."""

from __future__ import annotations

from pathlib import Path

from ratemill.schemas.usage_event import hot
from ratemill.streams import rocks
from ratemill.streams.core.store import Effects, ids_of
from ratemill.streams.rocks import FIRST_SCHEMA, RUNS_SCHEMA, RocksStore

FILLED = Effects([], [(b"eaccount", b"1")], ids_of(b"i" * 16 + b"f" * 8), 7, [])
OURS, OTHER = (FIRST_SCHEMA, RUNS_SCHEMA) if hot is None else (RUNS_SCHEMA, FIRST_SCHEMA)


def filled(folder: Path, schema: bytes | None = None) -> None:
    store = RocksStore(folder)
    assert store.replaced == ""  # there was none
    store.write(FILLED, {"topic": 9})
    if schema is not None:
        store._db[rocks._SCHEMA] = schema
    store.close()


def test_a_store_of_our_schema_is_kept(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    store = RocksStore(tmp_path / "s")
    assert (store.replaced, store.position("topic"), store.get(b"eaccount")) == ("", 9, b"1")
    assert store.seen([b"i" * 16]) == [b"f" * 8]
    store.close()


def test_a_store_that_says_nothing_has_the_first_schema(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    store = RocksStore(tmp_path / "s")
    del store._db[rocks._SCHEMA]
    store.close()
    store = RocksStore(tmp_path / "s")
    assert (store.replaced, store.position("topic")) == (("", 9) if hot is None else (f"it is in schema {FIRST_SCHEMA}, not {RUNS_SCHEMA}", 0))
    store.close()


def test_a_store_of_another_schema_is_dropped_and_read_from_the_changelogs(tmp_path: Path) -> None:
    for schema in (OTHER, 77):
        filled(tmp_path / "s", b"%d" % schema)
        store = RocksStore(tmp_path / "s")
        assert (store.replaced, store.position("topic"), store.get(b"eaccount")) == (f"it is in schema {schema}, not {OURS}", 0, None)
        assert store.seen([b"i" * 16]) == [None]
        store.write(FILLED, {"topic": 3})
        store.close()
        store = RocksStore(tmp_path / "s")
        assert (store.replaced, store.position("topic"), store.get(b"eaccount")) == ("", 3, b"1")
        store.close()
        for path in sorted((tmp_path / "s").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
