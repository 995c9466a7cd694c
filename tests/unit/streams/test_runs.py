"""Identities in files of their own: they say what a dict says, and whatever is missing or not as it was written is noticed."""

from __future__ import annotations

import errno
import gc
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from ratemill.schemas.usage_event import hot
from ratemill.streams.core.store import Effects
from ratemill.streams.identities import in_runs
from ratemill.streams.identities.in_runs import InRuns
from ratemill.streams.rocks import RocksStore

if hot is None:
    pytest.skip("not compiled", allow_module_level=True)

BUCKET = b"\0\0\0\7"


def some(rng: random.Random, number: int) -> dict[bytes, bytes]:
    """Identities, some of them alike in their first bytes: many of a kind on both sides of a page's end."""
    heads = [b"\0" * 8, b"\xff" * 8, b"\0" * 7 + b"\1"]
    return {(rng.choice(heads) if rng.random() < 0.3 else rng.randbytes(8)) + rng.randbytes(8): rng.randbytes(8) for _ in range(number)}


def found_in(places: list[Any], hashes: list[bytes]) -> list[bytes | None]:
    found: list[bytes | None] = [None] * len(hashes)
    left = hot.fill(places, hashes, found)
    assert left == found.count(None)
    return found


@pytest.mark.parametrize("number", [0, 1, 127, 128, 129, 20_000])
def test_a_run_is_what_the_table_was(tmp_path: Path, number: int) -> None:
    rng = random.Random(number)
    ids, others = some(rng, number), list(some(rng, 2_000))
    written = hot.write_run(str(tmp_path / "a"), hot.Identities(ids))
    for run in (written, hot.Run(str(tmp_path / "a"))):
        assert len(run) == number
        assert found_in([run], [*ids, *others]) == [*ids.values(), *([None] * len(others))]


@pytest.mark.parametrize("seed", range(10))
def test_the_first_place_has_the_last_word_and_so_has_what_is_made_of_several(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    all_ids: dict[bytes, bytes] = {}
    runs = []
    for number in range(rng.randrange(2, 7)):
        again = {hash_: rng.randbytes(8) for hash_ in rng.sample(list(all_ids), len(all_ids) // 3)}
        ids = again | some(rng, rng.choice((0, 5, 900, 9_000)))
        runs.append(hot.write_run(str(tmp_path / str(number)), hot.Identities(ids)))
        all_ids |= ids
    asked = [*all_ids, *some(rng, 100)]
    wanted = [*all_ids.values(), *([None] * 100)]
    merged = hot.merge_runs(str(tmp_path / "merged"), runs, hot.Stop())
    assert len(merged) == len(all_ids)
    assert found_in(runs[::-1], asked) == found_in([merged], asked) == found_in([hot.Run(str(tmp_path / "merged"))], asked) == wanted


def test_few_of_the_unknown_are_looked_up_in_the_file(tmp_path: Path) -> None:
    """The filter: without a file to read from, whatever passes it fails."""
    rng = random.Random(3)
    run = hot.write_run(str(tmp_path / "a"), hot.Identities({rng.randbytes(16): rng.randbytes(8) for _ in range(50_000)}))
    (tmp_path / "a").write_bytes(b"")
    passed = 0
    for _ in range(20_000):
        try:
            assert found_in([run], [rng.randbytes(16)]) == [None]
        except OSError:
            passed += 1
    assert 0 < passed < 20_000 * 0.02


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def test_a_page_that_is_not_as_it_was_written_is_no_answer(tmp_path: Path) -> None:
    ids = some(random.Random(4), 1_000)
    run = hot.write_run(str(tmp_path / "a"), hot.Identities(ids))
    first = min(ids)
    assert found_in([run], [first]) == [ids[first]]
    flip(tmp_path / "a", 20)
    run = hot.Run(str(tmp_path / "a"))
    assert not run.damaged
    for doing in (lambda: found_in([run], [first]), lambda: hot.merge_runs(str(tmp_path / "b"), [run], hot.Stop())):
        with pytest.raises(OSError, match="a page is not as it was written") as caught:
            doing()
        assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(tmp_path / "a"))
        assert run.damaged


def test_a_file_that_is_not_as_it_was_written_is_not_opened(tmp_path: Path) -> None:
    ids = some(random.Random(5), 1_000)
    path = tmp_path / "a"
    hot.write_run(str(path), hot.Identities(ids))
    whole = path.read_bytes()
    for at in range(len(ids) * 24, len(whole), 7):  # index, filter, footer
        flip(path, at)
        with pytest.raises(OSError, match=r"not as it was|not one"):
            hot.Run(str(path))
        path.write_bytes(whole)
    for size in (0, 31, 32, 1_000, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(OSError, match=r"too soon|not one"):
            hot.Run(str(path))
    with pytest.raises(OSError, match="No such file"):
        hot.Run(str(tmp_path / "nowhere"))
    with pytest.raises(OSError, match="No such file"):
        hot.write_run(str(tmp_path / "nowhere" / "a"), hot.Identities())


# -- in a store ----------------------------------------------------------------------------------------------------------------


def write(store: RocksStore, number: int) -> dict[bytes, bytes]:
    """A commit that goes to the disk at once."""
    ids = some(random.Random(f"store {number}"), 200)
    store.write(Effects((), [], hot.Identities(ids), 7, []), {"dedupe": number + 1})
    store.flush()
    return ids


def settled(store: RocksStore, number: int) -> dict[bytes, bytes]:
    """As `write`; what is merged because of it has been merged."""
    ids = write(store, number)
    store._old.settle()
    return ids


def files(store: RocksStore) -> list[str]:
    return sorted(path.name.removeprefix(f"{BUCKET.hex()}.").removesuffix(".run") for path in (store._folder / "identities").iterdir())


def test_four_runs_of_an_age_become_one(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "s")
    ids: dict[bytes, bytes] = {}
    for number in range(21):
        ids |= settled(store, number)
    assert files(store) == ["00000000-00000015", "00000016-00000019", "00000020-00000020"]
    assert store.seen(list(ids)) == list(ids.values())
    store.close()
    store = RocksStore(tmp_path / "s")
    assert store.seen(list(ids)) == list(ids.values())
    # When a bucket gets nothing any more, all of it becomes one run.
    store.write(Effects((), [], hot.Identities(some(random.Random(1), 10)), 8, []), {"dedupe": 99})
    store.flush()
    store._old.settle()
    assert [name for name in files(store) if "." not in name] == ["00000000-00000020"]
    assert store.seen(list(ids)) == list(ids.values())
    store.close()


@pytest.mark.parametrize("harm", ["missing", "cut", "page", "page, found while runs are merged"])
def test_a_store_without_all_of_its_runs_is_dropped(tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RocksStore(tmp_path / "s")
    ids = [write(store, number) for number in range(3)][1]
    store.close()
    path = tmp_path / "s" / "identities" / f"{BUCKET.hex()}.00000001-00000001.run"
    if harm == "missing":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        flip(path, 5)
        store = RocksStore(tmp_path / "s")
        assert store.replaced == ""  # nobody has read that page
        with pytest.raises(OSError, match="a page is not as it was written"):
            store.seen(list(ids)) if harm == "page" else settled(store, 3)
        store.close()  # as a lane does that has failed
    if harm != "cut":
        # Negative control: nobody compares with what was noted.
        with monkeypatch.context() as patched:
            patched.setattr(InRuns, "_check", lambda self: None)
            store = RocksStore(tmp_path / "s")
            assert (store.replaced, store.position("dedupe")) == ("", 4 if "merged" in harm else 3)
            assert store.seen(list(ids)) == [None] * len(ids)
            store._db.close()
    store = RocksStore(tmp_path / "s")
    assert "cannot be read" in store.replaced
    assert store.position("dedupe") == 0
    store.close()


def test_a_store_whose_files_are_not_to_be_had_now_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RocksStore(tmp_path / "s")
    ids = write(store, 0)
    store.close()

    class Full:
        """No file can be opened."""

        def Run(self, path: str) -> Any:
            raise OSError(errno.EMFILE, "Too many open files", path)

    with monkeypatch.context() as patched:
        patched.setattr(in_runs, "hot", Full())
        with pytest.raises(OSError, match="Too many open files"):
            RocksStore(tmp_path / "s")
    gc.collect()
    store = RocksStore(tmp_path / "s")
    assert (store.replaced, store.position("dedupe"), store.seen(list(ids))) == ("", 1, list(ids.values()))
    store.close()


def test_a_merge_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RocksStore(tmp_path / "s")
    for number in range(3):
        write(store, number)
    (tmp_path / "s" / "identities" / f"{BUCKET.hex()}.00000000-00000003.new").mkdir()
    write(store, 3)
    with pytest.raises(IsADirectoryError, match=r"00000000-00000003\.new"):
        store._old.settle()
    store._db.close()


def test_closing_does_not_wait_for_a_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    class Slow:
        """Merges for ever, unless it is asked to stop."""

        def __getattr__(self, name: str) -> Any:
            return getattr(hot, name)

        def merge_runs(self, path: str, runs: list[Any], stop: Any) -> Any:
            begun.set()
            while True:
                hot.merge_runs(path, runs, stop)

    monkeypatch.setattr(in_runs, "hot", Slow())
    store = RocksStore(tmp_path / "s")
    ids = {hash_: print_ for number in range(4) for hash_, print_ in write(store, number).items()}
    assert begun.wait(10)
    assert store.seen(list(ids)) == list(ids.values())  # while it merges
    store.close()
    assert not list((tmp_path / "s" / "identities").glob("*.new"))
    monkeypatch.undo()
    store = RocksStore(tmp_path / "s")
    assert (store.replaced, store.position("dedupe")) == ("", 4)
    assert store.seen(list(ids)) == list(ids.values())
    store.close()


def test_what_is_left_over_goes(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "s")
    ids = {hash_: print_ for number in range(4) for hash_, print_ in write(store, number).items()}
    store._old.settle()
    store.close()
    folder = tmp_path / "s" / "identities"
    whole = folder / f"{BUCKET.hex()}.00000000-00000003.run"
    for name in (f"{BUCKET.hex()}.00000001-00000001.run", f"{BUCKET.hex()}.00000004-00000004.new", "x.run"):
        (folder / name).write_bytes(b"half")
    store = RocksStore(tmp_path / "s")
    assert list(folder.iterdir()) == [whole]
    assert store.seen(list(ids)) == list(ids.values())
    store.close()


def test_ages() -> None:
    def run(first: int, last: int) -> in_runs._Run:
        return in_runs._Run(first, last, None)

    ones = [run(20 + n, 20 + n) for n in range(4)]
    assert [run(0, last).age for last in (0, 2, 3, 14, 15, 62, 63)] == [0, 0, 1, 1, 2, 2, 3]
    assert in_runs._to_merge(ones[:3], True) == []
    assert in_runs._to_merge([run(0, 15), run(16, 19), *ones], True) == ones
    fours = [run(4 * n, 4 * n + 3) for n in range(4)]
    assert in_runs._to_merge([*fours, ones[0]], True) == fours
    assert in_runs._to_merge([*fours, ones[0]], False) == [*fours, ones[0]]
    assert in_runs._to_merge(ones[:1], False) == []
