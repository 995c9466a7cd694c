"""The outbox on real databases, SQLite and PostgreSQL: what is counted once, what is frozen for good, and what becomes of each answer."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest
from marketplaces.markets import SINCE, listings_text
from ratemill.pricing.money import money
from ratemill.sinks.marketplace.http import Answer, Request
from ratemill.sinks.marketplace.listings import Listing, read_listings
from ratemill.sinks.marketplace.outbox import Outbox
from ratemill.sinks.marketplace.reconciling import books
from ratemill.sinks.marketplace.records import HOUR_S, NOWHERE, Contribution, Outcome, Record, State, Verdict
from ratemill.sinks.marketplace.reporter import Reporter, ReporterParts
from ratemill.sinks.marketplace.rules import RULES
from ratemill.sinks.marketplace.standing import standing
from ratemill.store.lease import Lease, LeaseLost
from sqlalchemy import Engine, event

LISTINGS = read_listings(listings_text("azure", "2026-11-02T23:00:00Z", ("acct-1",)), "shop.yaml")
TARGET = next(each.id for each in LISTINGS.targets() if each.dimension == "gb_hours")
RULES_OF = {"shop": RULES["azure"]}
TOPIC = ("usage.rated", 0)
NOW = SINCE + HOUR_S + 600


@pytest.fixture
def outbox(engine: Engine) -> Outbox:
    lease = Lease(engine, "marketplace", "one", 60)
    assert lease.take()
    made = Outbox(engine, lease)
    assert made.declare(LISTINGS.targets(), LISTINGS.digest)
    return made


def line(id: str, revision: int, quantity: str, hour: int = SINCE) -> Contribution:
    return Contribution(id, revision, TARGET, hour, money(quantity))


def line_of(id: str, target: str, hour: int) -> Contribution:
    return Contribution(id, 1, target, hour, money("5"))


def frozen(outbox: Outbox, quantity: str = "7.5") -> Record:
    outbox.count([line("a", 1, quantity)], {TOPIC: 1})
    outbox.freeze(RULES_OF, NOW, NOW)
    (record,) = outbox.due("shop", NOW, 25)
    return record


def answered(outbox: Outbox, engine: Engine, record: Record, *outcomes: Outcome) -> tuple[str, str]:
    """(state of the record, carry of its target) after tries with these outcomes."""
    for outcome in outcomes:
        outbox.mark([record], NOW)
        outbox.settle({record.id: Verdict(outcome, accepted="3" if outcome == Outcome.MISMATCH else "")}, NOW)
    found = standing(engine, NOW, RULES_OF)
    assert [each.difference for each in books(engine)] == [0, 0, 0]
    state = next(state for (_, state), number in found.counts.items() if number)
    return state, str(next(each.carry for each in found.targets if each.id == TARGET))


def test_a_line_item_counts_once_by_its_highest_revision(outbox: Outbox, engine: Engine) -> None:
    assert outbox.count([line("a", 2, "5"), line("a", 1, "9"), line("b", 1, "0.5")], {TOPIC: 3}) == 2
    assert outbox.count([line("a", 2, "5"), line("b", 1, "0.5"), line("b", 2, "2")], {TOPIC: 6}) == 1
    assert outbox.positions() == {TOPIC: 6}
    outbox.freeze(RULES_OF, NOW, NOW)
    assert [each.quantity for each in outbox.due("shop", NOW, 25)] == [7]


def test_what_is_frozen_never_changes_and_a_correction_goes_into_the_next_hour(outbox: Outbox, engine: Engine) -> None:
    record = frozen(outbox)
    outbox.count([line("a", 2, "3")], {})
    assert outbox.due("shop", NOW, 25) == [record]
    outbox.count([line("b", 1, "6.25", SINCE + HOUR_S)], {})
    outbox.freeze(RULES_OF, NOW + HOUR_S, NOW + HOUR_S)
    assert [each.quantity for each in outbox.due("shop", NOW + HOUR_S, 25)] == [7, 2]  # 3 - 7 + 6.25
    assert [each.difference for each in books(engine)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("outcomes", "state", "carry"),
    [
        ([Outcome.ACCEPTED], State.ACCEPTED, "0.5"),
        ([Outcome.DOUBT], State.DOUBTFUL, "0.5"),
        ([Outcome.DOUBT, Outcome.ACCEPTED], State.ACCEPTED, "0.5"),
        ([Outcome.NOT_NOW], State.PENDING, "0.5"),
        ([Outcome.DOUBT, Outcome.NOT_NOW], State.DOUBTFUL, "0.5"),
        ([Outcome.APART], State.PENDING, "0.5"),
        ([Outcome.MISMATCH], State.MISMATCH, "0.5"),
        ([Outcome.REJECTED], State.REJECTED, "0.5"),
        ([Outcome.DOUBT, Outcome.REJECTED], State.UNKNOWN, "0.5"),
        ([Outcome.EXPIRED], State.EXPIRED, "7.5"),  # surely not taken: it goes into the next hour
        ([Outcome.DOUBT, Outcome.EXPIRED], State.UNKNOWN, "0.5"),  # it may have been taken: it does not
    ],
)
def test_what_becomes_of_an_answer(outbox: Outbox, engine: Engine, outcomes: list[Outcome], state: State, carry: str) -> None:
    assert answered(outbox, engine, frozen(outbox), *outcomes) == (state, carry)


def test_a_record_that_a_batch_was_refused_for_goes_alone(outbox: Outbox) -> None:
    record = frozen(outbox)
    outbox.mark([record], NOW)
    outbox.settle({record.id: Verdict(Outcome.APART)}, NOW)
    outbox.count([line("b", 1, "2", SINCE + HOUR_S)], {})
    outbox.freeze(RULES_OF, NOW + HOUR_S, NOW + HOUR_S)
    assert [(each.id, each.alone) for each in outbox.due("shop", NOW + HOUR_S, 25)] == [(record.id, True)]


def test_a_deadline_carries_on_what_was_never_sent_and_leaves_what_may_have_been_taken(outbox: Outbox, engine: Engine) -> None:
    record = frozen(outbox)
    late = SINCE + 86_400
    assert outbox.pass_deadlines("shop", RULES["azure"], late - 1) == 0
    overdue = standing(engine, late - 1, RULES_OF).overdue
    assert [(each.id, each.closes_at) for each in overdue] == [(record.id, late)]  # told of before
    assert outbox.pass_deadlines("shop", RULES["azure"], late) == 1
    assert standing(engine, late, RULES_OF).counts == {("shop", State.EXPIRED): 1}


def test_hours_that_nobody_freezes_are_told_of_before_they_are_late(outbox: Outbox, engine: Engine) -> None:
    alarm, late = SINCE + RULES["azure"].alarm_s, RULES["azure"].freeze_until(SINCE)
    assert standing(engine, alarm - 1, RULES_OF).behind == []
    told = standing(engine, alarm + HOUR_S, RULES_OF).behind  # no reporter ran since: there is no record, and yet something is overdue
    assert [(each.dimension, each.next_hour, each.behind, each.closes_at) for each in told] == [
        (name, SINCE, 2, late) for name in ("fee_cents", "gb_hours", "requests")
    ]  # fmt: skip
    assert alarm + HOUR_S < late
    outbox.freeze(RULES_OF, alarm + HOUR_S, alarm + HOUR_S)
    assert standing(engine, alarm + HOUR_S, RULES_OF).behind == []
    # Whoever has never reported at all: the database knows no target. A listing that is gone from the file has nothing to be told of.
    other = read_listings(listings_text("azure", "2026-11-02T23:00:00Z", ("acct-2",)), "shop.yaml").targets()
    found = standing(engine, alarm, RULES_OF, other)
    assert {(each.account, each.behind) for each in found.behind} == {("acct-2", 1)}
    assert standing(engine, alarm, {}, other).behind == []


async def test_an_hour_is_reported_under_the_plan_that_the_customer_had_in_it(engine: Engine) -> None:
    text = listings_text("azure", "2026-11-02T23:00:00Z", ("acct-1",))
    line = text.splitlines()[-1]
    moved = line.replace('since: "2026-11-02T23', 'since: "2026-11-03T00').replace("plan_id: gold", "plan_id: platinum")
    first = line.replace("listing: shop", 'listing: shop, until: "2026-11-03T00:00:00Z"')
    listings = read_listings(f"{text.replace(line, first)}{moved}\n", "shop.yaml")
    lease = Lease(engine, "marketplace", "one", 60)
    assert lease.take()
    outbox = Outbox(engine, lease)
    now = SINCE + 2 * HOUR_S + 600

    async def send(_listing: Listing, _request: Request) -> Answer:
        raise AssertionError

    reporter = Reporter(ReporterParts(outbox=outbox, lease=lease, listings=listings, send=send, clock=lambda: now))
    await reporter.begin()
    outbox.count([line_of("a", TARGET, SINCE), line_of("b", TARGET, SINCE + HOUR_S)], {})
    assert await reporter.freeze(now) == 2
    assert [each.wire["plan_id"] for each in outbox.due("shop", now, 25)] == ["gold", "platinum"]


def test_stripe_is_not_asked_again_once_it_may_have_forgotten(outbox: Outbox, engine: Engine) -> None:
    record = frozen(outbox)
    outbox.mark([record], NOW)
    assert outbox.pass_deadlines("shop", RULES["stripe"], NOW + 23 * HOUR_S - 1) == 0
    assert outbox.pass_deadlines("shop", RULES["stripe"], NOW + 23 * HOUR_S) == 1
    assert standing(engine, NOW, RULES_OF).counts == {("shop", State.UNKNOWN): 1}


def test_somebody_says_what_the_marketplace_has_and_the_rest_is_carried(outbox: Outbox, engine: Engine) -> None:
    record = frozen(outbox)
    assert outbox.resolve(record.id, 0, "", NOW) == "it is pending, and nothing is to be said of it"
    assert answered(outbox, engine, record, Outcome.MISMATCH) == (State.MISMATCH, "0.5")
    assert outbox.resolve("x", 0, "", NOW) == "there is no such record"
    assert outbox.resolve(record.id, 3, "seen in its report", NOW) == ""
    assert standing(engine, NOW, RULES_OF).counts == {("shop", State.SETTLED): 1}
    assert [each.difference for each in books(engine)] == [0, 0, 0]
    assert str(next(each.carry for each in standing(engine, NOW, RULES_OF).targets if each.id == TARGET)) == "4.5"


def test_a_revision_that_counts_for_no_dimension_is_taken_off_again(outbox: Outbox, engine: Engine) -> None:
    gone = Contribution("a", 2, NOWHERE, 0, money("0"))
    outbox.count([line("a", 1, "7.5"), line("b", 1, "3")], {TOPIC: 2})
    assert outbox.count([gone, replace(gone, line_item="never")], {TOPIC: 4}) == 2
    assert outbox.count([gone, line("a", 1, "7.5"), line("never", 1, "9")], {TOPIC: 6}) == 0  # once, and for good
    outbox.freeze(RULES_OF, NOW, NOW)
    assert [each.quantity for each in outbox.due("shop", NOW, 25)] == [3]
    assert not any(book.difference for book in books(engine))
    outbox.count([line("a", 3, "2")], {TOPIC: 7})  # and it may count again, as may one for which another file has a dimension
    outbox.count([replace(gone, line_item="b")], {TOPIC: 8})
    assert not any(book.difference for book in books(engine))
    assert outbox.declare(LISTINGS.targets(), "another")
    outbox.count([line("b", 2, "3")], {TOPIC: 8})
    assert next(book.counted for book in books(engine) if book.target == TARGET) == 5


def test_there_may_be_more_targets_than_a_query_takes_values(outbox: Outbox, engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        engine.dispose()

        @event.listens_for(engine, "connect")
        def connected(connection: sqlite3.Connection, _record: object) -> None:
            connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)

    many = [replace(each, id=f"{each.id}-{number}") for number in range(400) for each in LISTINGS.targets()]
    outbox.declare(many, "many")
    outbox.count([Contribution(each.id, 1, each.id, SINCE, money("1.5")) for each in many], {TOPIC: 1})
    assert outbox.freeze(RULES_OF, NOW, NOW) == len(many) == 1_200
    assert not any(book.difference or book.open for book in books(engine))


def test_another_file_is_read_for_from_the_beginning_and_nothing_counts_twice(outbox: Outbox) -> None:
    outbox.count([line("a", 1, "5")], {TOPIC: 1})
    assert not outbox.declare(LISTINGS.targets(), LISTINGS.digest)
    assert outbox.declare(LISTINGS.targets(), "another")
    assert outbox.positions() == {}
    assert outbox.count([line("a", 1, "5")], {TOPIC: 1}) == 0


def test_who_lost_the_lease_writes_nothing(outbox: Outbox, engine: Engine) -> None:
    record = frozen(outbox)
    clock = [0.0]
    other = Lease(engine, "marketplace", "two", 60, clock=lambda: clock[0])
    assert not other.take()
    clock[0] = 61.0
    assert other.take()
    with pytest.raises(LeaseLost):
        outbox.mark([record], NOW)
    with pytest.raises(LeaseLost):
        outbox.count([line("b", 1, "1")], {TOPIC: 9})
    assert outbox.positions() == {TOPIC: 1}
    assert standing(engine, NOW, RULES_OF).counts == {("shop", State.PENDING): 1}


def test_books_that_do_not_balance_are_seen(outbox: Outbox, engine: Engine) -> None:
    frozen(outbox)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE marketplace_targets SET carry = '0' WHERE dimension = 'gb_hours'")
    assert sorted(str(each.difference) for each in books(engine)) == ["0", "0", "0.5"]
