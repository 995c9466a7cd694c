"""The store of an invoice job: killed between any two of its steps it ends with the same files, and what it says is final stays so."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from ratemill.cli.invoice_run import _write
from ratemill.invoicing import Store
from ratemill.invoicing.store import Close, Position
from ratemill.schemas.control import month_number
from ratemill.schemas.errors import BadInput, Damaged, RatemillError, Unavailable
from ratemill.schemas.line_item import RatedLineItem, decode_line_item, encode_line_item

RATED, CONTROL = "usage.rated", "ratemill.control"
OCTOBER, NOVEMBER = month_number("2026-10"), month_number("2026-11")


def item(id: str, revision: int, account: str, cost: str, period: str = "2026-10", **more: object) -> RatedLineItem:
    """A line item of one unit at this price, in UTC."""
    year, month = divmod(month_number(period) + 1, 12)
    base = RatedLineItem(
        x_line_item_id=id, x_revision=revision, billing_account_id=account, billing_currency="USD", billing_period_start=f"{period}-01T00:00:00Z",
        billing_period_end=f"{year}-{month + 1:02d}-01T00:00:00Z", charge_period_start=f"{period}-03T00:00:00Z",
        charge_period_end=f"{period}-03T01:00:00Z", sku_id="store", billed_cost=cost, effective_cost=cost, list_cost=cost, contracted_cost=cost,
        charge_category="Usage", charge_class=None, charge_description=None, pricing_quantity="1", pricing_unit="GB", service_name="Store",
        service_category="Storage", provider_name="Acme", publisher_name="Acme", invoice_issuer_name="Acme", list_unit_price=cost,
    )  # fmt: skip
    for name, value in more.items():
        setattr(base, name, value)
    return base


# What lies in two partitions of the rated topic: restated, withdrawn, in two months.
LOG = {
    0: [
        item("a1", 1, "anna", "1.10"), item("a2", 1, "anna", "7", x_component="tier-2"),
        item("b1", 2, "bob/../x", "3"), item("a1", 3, "anna", "1.25"),
        item("a2", 4, "anna", "0", x_withdrawn=True), item("a3", 4, "anna", "0.333333333333333333333", sku_id="net"),
        item("n1", 5, "anna", "9", "2026-11"), item("b1", 6, "bob/../x", "2.5"), item("n1", 7, "anna", "8", "2026-11"),
    ],
    1: [item("c1", 1, "carl", "5", billing_currency="EUR"), item("c1", 2, "carl", "6", billing_currency="EUR"), item("c2", 3, "carl", "1")],
}  # fmt: skip
CLOSES = [Close(0, OCTOBER, 6, 1_700_000_000_000_000_000), Close(1, OCTOBER, 3, 1_700_000_001_000_000_000)]


def records_of(partition: int) -> list[tuple[int, bytes]]:
    return [(offset, encode_line_item(its)) for offset, its in enumerate(LOG[partition])]


def run(store: Store, folder: Path) -> None:
    """What the command does, with the log above in the place of Kafka, three records a fetch."""
    at = store.position(CONTROL, 0)
    if at < len(CLOSES):
        store.closed(CLOSES[at:], (CONTROL, 0, len(CLOSES)))
    closed = store.closed_through()
    for partition in LOG:
        records = records_of(partition)
        while (at := store.position(RATED, partition)) < len(records):
            store.take(records[at : at + 3], (RATED, partition, min(at + 3, len(records))))
    store.conclude(closed)
    for handover in store.due():
        _write(folder, handover.invoice, ["json", "csv", "html"])
        store.delivered(handover)
    store.close()


class Unsynced(sqlite3.Connection):
    """Does not wait for the disk, which only a loss of power would show. told: called before each statement, in a process that is to be killed."""

    told: Callable[..., None] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.set_trace_callback(self.told)

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        return super().execute(statement.replace("synchronous = FULL", "synchronous = OFF"), *arguments)


@pytest.fixture(autouse=True, scope="module")
def unsynced() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        connect = sqlite3.connect
        patch.setattr(sqlite3, "connect", lambda *arguments, **options: connect(*arguments, **options, factory=Unsynced))
        patch.setattr(os, "fsync", lambda number: None)
        yield


class OffsetsFirst(Store):
    """Says that records are read before they are kept."""

    def take(self, records: Sequence[tuple[int, bytes]], position: Position) -> None:
        super().take([], position)
        super().take(records, position)


class Forgetful(Store):
    """Keeps what came last, whatever its revision."""

    def take(self, records: Sequence[tuple[int, bytes]], position: Position) -> None:
        for offset, value in records:
            self._db.execute("DELETE FROM line_items WHERE id = ?", (decode_line_item(value).x_line_item_id,))
            super().take([(offset, value)], position)


def killed_at(kind: type[Store], place: Path, step: int) -> bool:
    """Run in a process that is killed with -9 before its step `step`, each statement and each file being one; False: it came to its end."""

    def child() -> None:
        left = [step]

        def count(*_: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        replace = Path.replace
        os.fsync = count  # type: ignore[assignment]
        Path.replace = lambda self, target: (count(), replace(self, target))[1]  # type: ignore[method-assign, assignment]
        Unsynced.told = staticmethod(count)
        run(kind(place / "store"), place / "out")

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".part")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("undisturbed")
    run(Store(place / "store"), place / "out")
    return files(place / "out")


def outcomes(kind: type[Store], folder: Path) -> Iterator[dict[str, bytes]]:
    """The files of a job that is killed before its first step, then of one killed before its second, …: each started again."""
    step = 0
    while True:
        place = folder / str(step)
        place.mkdir()
        if not killed_at(kind, place, step):
            return
        run(kind(place / "store"), place / "out")
        yield files(place / "out")
        step += 1


def test_killed_between_any_two_steps_the_files_are_the_same(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    found = list(outcomes(Store, tmp_path))
    assert len(found) > 50
    assert [number for number, each in enumerate(found) if each != undisturbed] == []


def test_killed_again_and_again_it_still_comes_to_the_same_end(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    draw, kills = Random(7), 0
    while killed_at(Store, tmp_path, draw.randrange(12, 60)):
        kills += 1
    assert kills > 1
    assert files(tmp_path / "out") == undisturbed


def test_offsets_that_go_before_their_records_are_noticed(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    assert any(each != undisturbed for each in outcomes(OffsetsFirst, tmp_path))


def invoices(kind: type[Store], place: Path, records: Sequence[tuple[int, bytes]]) -> list[bytes]:
    store = kind(place)
    store.take(records, (RATED, 0, 100))
    store.closed(CLOSES[:1], (CONTROL, 0, 1))
    store.conclude(store.closed_through())
    found = [handover.body for handover in store.due()]
    store.close()
    return found


@pytest.mark.parametrize(("kind", "holds"), [(Store, True), (Forgetful, False)])
def test_records_that_come_twice_or_out_of_order_change_nothing(tmp_path: Path, kind: type[Store], holds: bool) -> None:
    wanted = invoices(kind, tmp_path / "in order", records_of(0))
    shuffled = [*records_of(0), *records_of(0)]
    Random(3).shuffle(shuffled)
    assert (invoices(kind, tmp_path / "shuffled", shuffled) == wanted) == holds


def test_what_is_closed_is_final_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.take(records_of(0), (RATED, 0, 9))
    store.take(records_of(1), (RATED, 1, 3))
    store.closed(CLOSES[:1], (CONTROL, 0, 1))
    assert store.due() == []  # it is closed, but nobody has said that all of it was read
    assert [each.account for each in store.estimates(OCTOBER)] == ["anna", "bob/../x", "carl"]
    store.conclude(store.closed_through())
    assert [(each.account, each.period, each.version) for each in store.due()] == [("anna", "2026-10", 6), ("bob/../x", "2026-10", 6)]
    anna = store.due()[0].invoice
    assert (anna.status, anna.closed_at, anna.invoices[0].total) == ("final", "2023-11-14T22:13:20Z", "1.583333333333333333333")
    assert [each.account for each in store.estimates(OCTOBER)] == ["carl"]
    assert [(each.account, each.invoices[0].total, each.version) for each in store.estimates(NOVEMBER)] == [("anna", "8", 7)]
    assert [(invoice.currency, invoice.total) for invoice in store.estimates(OCTOBER, "carl")[0].invoices] == [("EUR", "6"), ("USD", "1")]


def test_a_handover_is_due_until_it_is_confirmed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.take(records_of(0), (RATED, 0, 9))
    store.closed([Close(0, NOVEMBER, 9, 1)], (CONTROL, 0, 1))  # both months by one close
    store.conclude(store.closed_through())
    first, *others = store.due()
    store.delivered(first)
    store.close()
    again = Store(tmp_path / "store")
    assert again.due() == others
    assert [(each.account, each.period) for each in others] == [("bob/../x", "2026-10"), ("anna", "2026-11")]
    again.closed([Close(0, NOVEMBER, 12, 1)], (CONTROL, 0, 2))  # closed once more: nothing new
    again.conclude(again.closed_through())
    assert again.due() == others
    assert again.final(OCTOBER, "anna") == [first]


def test_a_final_month_that_changes_is_an_error_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.take(records_of(0), (RATED, 0, 9))
    store.closed(CLOSES[:1], (CONTROL, 0, 1))
    store.conclude(store.closed_through())
    store.take(records_of(0), (RATED, 0, 9))  # the same once more is no change
    before = list(store.line_items())
    changes: list[Callable[[], RatedLineItem]] = [lambda: item("a1", 8, "anna", "2"), lambda: item("new", 8, "anna", "2")]
    for change in changes:
        with pytest.raises(RatemillError, match=f"{RATED}/0/10: .* changes 2026-10 after it was closed"):
            store.take([(9, encode_line_item(item("n2", 8, "anna", "1", "2026-11"))), (10, encode_line_item(change()))], (RATED, 0, 11))
    assert (list(store.line_items()), store.position(RATED, 0)) == (before, 9)
    store.take([(9, encode_line_item(item("n2", 8, "anna", "1", "2026-11")))], (RATED, 0, 10))
    assert len(list(store.line_items())) == len(before) + 1


def test_only_one_job_at_a_time_and_only_its_own_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(Unavailable, match="another invoice job"):
        Store(tmp_path / "store")
    store.close()
    with pytest.raises(BadInput, match=r"line items of usage\.rated, not of other"):
        Store(tmp_path / "store", "other")
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(BadInput, match="cannot be used"):
        Store(tmp_path / "text")


def test_a_full_disk_is_one_line_and_nothing_is_kept_of_what_did_not_fit(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.take(records_of(0), (RATED, 0, 9))
    before = list(store.line_items())
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    many = [(9 + number, encode_line_item(item(f"m{number}", 9, "anna", "1", "2026-11"))) for number in range(100)]
    with pytest.raises(BadInput, match="disk is full; make room") as told:
        store.take(many, (RATED, 0, 109))
    assert "\n" not in str(told.value)
    assert (list(store.line_items()), store.position(RATED, 0)) == (before, 9)
    store._db.execute(f"PRAGMA max_page_count = {pages + 1_000}")
    store.take(many, (RATED, 0, 109))
    assert len(list(store.line_items())) == len(before) + 100


def test_a_record_that_is_no_line_item_is_an_error_with_its_place(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(Damaged, match=f"the line item at {RATED}/0/4 cannot be read"):
        store.take([(4, b"{}")], (RATED, 0, 5))
    assert store.position(RATED, 0) == 0


def test_line_items_of_final_months_can_be_dropped_and_their_invoices_stay(tmp_path: Path) -> None:
    run(Store(tmp_path / "s"), tmp_path / "out")
    store = Store(tmp_path / "s")
    before = store.final(OCTOBER)
    with pytest.raises(BadInput, match="2026-11 is not final in partition 0"):
        store.forget(NOVEMBER, 2)
    with pytest.raises(BadInput, match="2026-10 is not final in partition 2"):
        store.forget(OCTOBER, 3)  # it may still write line items of October, though none were seen
    assert store.forget(OCTOBER, 2) == 6
    assert (store.forget(OCTOBER, 2), store.forget(OCTOBER - 1, 2), store.forgotten_through()) == (0, 0, OCTOBER)
    assert (store.final(OCTOBER), len(before)) == (before, 3)
    assert [each.x_line_item_id for each in store.line_items(NOVEMBER)] == ["n1"]
    for month in (None, OCTOBER, OCTOBER - 3):  # nothing is taken for all there is
        with pytest.raises(BadInput, match="its line items through 2026-10 were dropped"):
            store.line_items(month)
    with pytest.raises(RatemillError, match="changes 2026-10 after it was closed"):  # nor does it come back
        store.take(records_of(0)[:1], (RATED, 0, 10))
    store.closed([Close(0, NOVEMBER, 9, 1), Close(1, NOVEMBER, 9, 1)], (CONTROL, 0, 4))
    store.conclude(store.closed_through())
    assert [each.account for each in store.final(NOVEMBER)] == ["anna"]
    with pytest.raises(BadInput, match="the invoice of anna for 2026-11 was not delivered"):
        store.forget(NOVEMBER, 2)


def test_what_an_invoice_job_keeps_is_bounded_where_it_forgets(tmp_path: Path) -> None:
    """Month after month of the same size: the file stops growing after the months that are kept."""
    store, sizes = Store(tmp_path / "s"), []
    for number in range(12):
        period = f"2026-{number + 1:02d}"
        records = [(at, encode_line_item(item(f"{period}/{at}", 1, f"a{at % 7}", "1", period))) for at in range(400)]
        store.take(records, (RATED, 0, 400 * (number + 1)))
        store.closed([Close(0, month_number(period), number + 1, 1)], (CONTROL, 0, number + 1))
        store.conclude(store.closed_through())
        for handover in store.due():
            store.delivered(handover)
        store.forget(month_number(period) - 1, 1)
        sizes.append((tmp_path / "s").stat().st_size)
    invoices = sum(len(each.body) for number in range(1, 13) for each in store.final(month_number(f"2026-{number:02d}")))
    assert sizes[-1] - sizes[2] < 3 * invoices
    assert sizes[2] < 2 * sizes[0] + 3 * invoices
