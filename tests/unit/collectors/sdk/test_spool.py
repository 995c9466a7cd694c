"""The spool: what is accepted is there, once, until it is settled; limits and locks refuse before anything is written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ratemill.collectors.sdk.events import Event
from ratemill.collectors.sdk.spool import ROW_BYTES, ROW_EVENTS, Refused, Spool, SpoolFailed, SpoolFull, SpoolInUse
from ratemill.schemas.errors import BadInput, Damaged, NewerSchema, RatemillError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "spool"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    made = Spool(path, max_bytes=1_000_000, fsync=False)
    yield made
    made.close()


def some(count: int, account: str = "a", size: int = 10, backfill: str = "") -> list[Event]:
    return [Event(account, f"{n}".encode().ljust(size, b"."), backfill) for n in range(count)]


def counts(spool: Spool) -> tuple[int, int, int, int]:
    return spool.waiting_events, spool.waiting_bytes, spool.refused_events, spool.refused_bytes


def test_events_of_an_account_share_a_row_and_nobody_elses(spool: Spool) -> None:
    spool.append([*some(2, "a"), *some(1, "b"), *some(1, "a", backfill="x"), *some(1, "a")])
    rows = {(row.account, row.backfill): row for row in spool.read(1 << 30)}
    assert {key: (row.events, row.body.count(b"\n")) for key, row in rows.items()} == {("a", ""): (3, 2), ("b", ""): (1, 0), ("a", "x"): (1, 0)}
    assert spool.waiting_events == 5


def test_rows_are_bounded(spool: Spool) -> None:
    spool.append(some(ROW_EVENTS + 1))
    spool.append(some(4, size=ROW_BYTES // 3))
    rows = spool.read(1 << 30)
    assert [row.events for row in rows] == [ROW_EVENTS, 1, 2, 2]
    assert max(len(row.body) for row in rows) <= ROW_BYTES


def test_what_waits_is_read_in_order_and_as_much_as_was_asked_for(spool: Spool) -> None:
    for n in range(5):
        spool.append([Event("a", f"{n}".encode() * 100)])
    assert [row.body[:1] for row in spool.read(250)] == [b"0", b"1", b"2"]
    assert len(spool.read(1)) == 1


def test_what_is_settled_is_gone_and_what_is_refused_is_kept(spool: Spool, path: Path) -> None:
    spool.append(some(3, "a"))
    spool.append(some(2, "b"))
    first, _ = spool.read(1 << 30)
    spool.settle([first], [Refused("a", "", "bad_time", "why", b"0.........")])
    assert counts(spool) == (2, 21, 1, 10)
    spool.close()
    again = Spool(path)
    assert counts(again) == (2, 21, 1, 10)
    assert again.refused() == [Refused("a", "", "bad_time", "why", b"0.........")]
    assert again.clear_refused(again=True) == 1
    assert counts(again) == (3, 31, 0, 0)
    assert [row.body[:1] for row in again.read(1 << 30)] == [b"0", b"0"]
    assert again.last == again.read(1 << 30)[-1].seq
    again.append(some(1))
    again.close()


def test_refused_events_can_be_forgotten(spool: Spool) -> None:
    spool.append(some(1))
    spool.settle(spool.read(1), [Refused("a", "", "r", "d", b"x")])
    assert (spool.clear_refused(again=False), counts(spool)) == (1, (0, 0, 0, 0))


def test_beyond_its_limit_it_takes_nothing(path: Path) -> None:
    spool = Spool(path, max_bytes=100, fsync=False)
    spool.append(some(5))
    with pytest.raises(SpoolFull, match=r"54 bytes wait in it .* limit of 100; wait"):
        spool.append(some(5))
    assert counts(spool)[:2] == (5, 54)
    spool.append(some(4))
    spool.settle(spool.read(1 << 30), [Refused("a", "", "r", "d", b"x" * 90)])
    with pytest.raises(SpoolFull, match="90 were refused"):
        spool.append(some(1, size=11))
    spool.close()


def test_settling_needs_no_room_within_the_limit(path: Path) -> None:
    """A spool that is full empties."""
    spool = Spool(path, max_bytes=30, fsync=False)
    spool.append(some(2))
    spool.settle(spool.read(1 << 30))
    spool.append(some(2))
    spool.close()


def test_one_publisher_has_it(spool: Spool, path: Path) -> None:
    with pytest.raises(SpoolInUse, match="give each process a spool of its own"):
        Spool(path)
    program = f"""
from ratemill.collectors.sdk.spool import Spool
try:
    Spool({str(path)!r})
except Exception as error:
    print(type(error).__name__)"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True).stdout == "SpoolInUse\n"
    spool.append(some(1))


def test_the_end_of_a_process_lets_go_of_it(path: Path) -> None:
    program = f"""
import os
from ratemill.collectors.sdk.spool import Spool
from ratemill.collectors.sdk.events import Event
Spool({str(path)!r}, fsync=False).append([Event("a", b"1")])
os._exit(9)"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    spool = Spool(path)
    assert spool.waiting_events == 1
    spool.close()


def test_a_fork_may_not_use_it(spool: Spool) -> None:
    child = os.fork()
    if not child:
        try:
            spool.append(some(1))
        except SpoolInUse:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_end_of_a_forked_child_takes_nothing_from_its_parent(path: Path) -> None:
    """An interpreter that ends closes what it has open: SQLite would remove the log that the parent still writes to."""
    program = f"""
import os, sys
from ratemill.collectors.sdk.spool import Spool, SpoolInUse
from ratemill.collectors.sdk.events import Event
spool = Spool({str(path)!r})
spool.append([Event("a", b"1")])
if not os.fork():
    try:
        spool.close()
    except SpoolInUse:
        sys.exit(0)
    os._exit(1)
assert os.wait()[1] == 0
spool.append([Event("a", b"2")])
os._exit(9)"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 9
    spool = Spool(path)
    assert spool.waiting_events == 2
    spool.close()


def test_a_closed_one_says_so(spool: Spool) -> None:
    spool.close()
    with pytest.raises(BadInput, match="was closed"):
        spool.append(some(1))


def test_threads_may_append_beside_each_other(spool: Spool) -> None:
    threads = [threading.Thread(target=lambda: [spool.append(some(1)) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    settled = 0
    while any(thread.is_alive() for thread in threads) or spool.waiting_events:
        rows = spool.read(100)
        spool.settle(rows)
        settled += sum(row.events for row in rows)
    assert (settled, counts(spool)) == (200, (0, 0, 0, 0))


@pytest.mark.parametrize(("content", "error"), [(b"something else, and more of it", Damaged), (b"SQLite format 3\0" + b"\xff" * 4_080, Damaged)])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes, error: type[RatemillError]) -> None:
    (tmp_path / "spool").write_bytes(content)
    with pytest.raises(error, match="spool"):
        Spool(tmp_path / "spool")
    assert (tmp_path / "spool").read_bytes() == content


def test_a_newer_one_is_refused(path: Path) -> None:
    Spool(path, fsync=False).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(NewerSchema, match="upgrade"):
        Spool(path)


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "spool", tmp_path):
        with pytest.raises((BadInput, SpoolFailed)):
            Spool(path)


def test_a_spool_that_filled_its_disk_is_begun_anew_once_all_has_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removing takes room too, and on a disk that the spool has for itself nobody else makes any."""
    spool = Spool(path)
    spool.append([Event("a", b"{}")])
    last = spool.append([Event("b", b"{}")])

    @contextmanager
    def no_room() -> Iterator[None]:
        raise SpoolFull("no room")
        yield

    with monkeypatch.context() as patched:
        patched.setattr(spool, "_transaction", no_room)
        first, second = spool.read(1 << 20)
        with pytest.raises(SpoolFull):
            spool.settle([first], [Refused("a", "", "why", "", b"{}")])
        assert len(spool.read(1 << 20)) == 2, "an event that was refused must not be forgotten"
        spool.settle([second])
        assert spool._first(0) is not None, "it is still in the file"
        spool.settle([first])
        assert spool._first(0) is None
        assert (spool.first(), spool.waiting_events, spool.last) == (None, 0, last)
    assert spool.append([Event("c", b"{}")]) == last + 1
    with pytest.raises(SpoolInUse):
        Spool(path)
    spool.close()
    again = Spool(path)
    assert [row.account for row in again.read(1 << 20)] == ["c"]
    again.close()
