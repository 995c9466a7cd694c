"""Rules, firings and the lease in the control database, on SQLite and on PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from ratemill.api.alerting.deliveries import KEPT_S, Deliveries
from ratemill.api.alerting.evaluation import Fired, Firing
from ratemill.api.alerting.rules import Definition, Rule
from ratemill.api.alerting.store import MOST_RULES, OVERLAP_S, Alerts, TooMany
from ratemill.api.alerting.webhooks import RETRY_S, Answer
from ratemill.schemas.errors import BadInput
from ratemill.store.database import transaction
from ratemill.store.lease import Lease, LeaseLost
from ratemill.store.tables import alert_deliveries as deliveries_table
from ratemill.store.tables import alert_rules, leases
from set_clock import Clock
from sqlalchemy import Engine, func, select

START = 1_795_000_000
COST = Definition("cost", ("100", "200"), "USD")
URL = "https://example.com/hook"


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def alerts(engine: Engine, clock: Clock) -> Alerts:
    return Alerts(engine, now=clock)


@pytest.fixture
def lease(engine: Engine) -> Lease:
    found = Lease(engine, "watch", "me", 1e9)
    assert found.take()
    return found


@pytest.fixture
def deliveries(engine: Engine, lease: Lease) -> Deliveries:
    return Deliveries(engine, lease)


def firing(rule: Rule, threshold: str = "100", period: str = "2026-11") -> Firing:
    return Firing(Fired(rule.id, rule.revision, period, threshold), f'{{"at": "{threshold}"}}')


# -- rules ---------------------------------------------------------------------------------------------------------------


def test_a_rule_is_read_as_it_was_made(alerts: Alerts) -> None:
    secret, rule = alerts.create("acme", "budget", Definition("cost", ("50.0%",), "USD", "10.0"), URL)
    assert secret.startswith("whsec_")
    assert rule == Rule(rule.id, "acme", "budget", Definition("cost", ("50%",), "USD", "10"), 1, URL, START, START)
    assert alerts.get(rule.id, "acme") == alerts.get(rule.id, None) == rule
    assert alerts.list("acme", "", 10) == [rule]
    assert alerts.keys(rule.id) == (secret,)
    assert secret not in repr(rule)


def test_another_account_can_do_nothing_with_it(alerts: Alerts) -> None:
    _, rule = alerts.create("acme", "budget", COST, URL)
    assert alerts.get(rule.id, "globex") is None
    assert alerts.list("globex", "", 10) == []
    assert alerts.change(rule.id, "globex", "mine", COST, URL) is None
    assert not alerts.delete(rule.id, "globex")
    assert alerts.rotate(rule.id, "globex") is None
    assert alerts.get(rule.id, "acme") == rule


def test_only_another_definition_is_another_revision(alerts: Alerts, clock: Clock) -> None:
    _, rule = alerts.create("acme", "budget", COST, URL)
    clock.now += 9
    for name, definition, url, revision in (
        ("other", COST, URL, 1), ("other", COST, URL + "2", 1), ("other", Definition("cost", ("100.0", "200.00"), "USD"), URL, 1),
        ("other", Definition("cost", ("100",), "USD"), URL, 2), ("other", COST, URL, 3),
    ):  # fmt: skip
        changed = alerts.change(rule.id, "acme", name, definition, url)
        assert changed is not None
        assert (changed.revision, changed.name, changed.url, changed.created_at, changed.changed_at) == (revision, name, url, START, START + 9)


def test_names_are_unique_within_an_account(alerts: Alerts) -> None:
    _, first = alerts.create("acme", "a", COST, URL)
    _, second = alerts.create("acme", "b", COST, URL)
    alerts.create("globex", "a", COST, URL)
    with pytest.raises(TooMany):
        alerts.create("acme", "a", COST, URL)
    with pytest.raises(TooMany):
        alerts.change(second.id, "acme", "a", COST, URL)
    assert alerts.delete(first.id, "acme")
    assert alerts.change(second.id, "acme", "a", COST, URL) is not None


def test_an_account_has_so_many_rules_and_pages_of_them(alerts: Alerts, engine: Engine) -> None:
    made = [alerts.create("acme", f"rule {number}", COST, URL)[1] for number in range(MOST_RULES)]
    with pytest.raises(TooMany):
        alerts.create("acme", "one more", COST, URL)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(alert_rules)).scalar_one() == MOST_RULES
    found, after = [], ""
    while page := alerts.list("acme", after, 33):
        found += page
        after = page[-1].id
    assert found == sorted(made, key=lambda rule: rule.id)


def test_what_is_refused_is_not_stored(alerts: Alerts) -> None:
    for account, name, definition, url in (
        ("", "a", COST, URL), ("a\0", "a", COST, URL), ("a", "", COST, URL), ("a", "n" * 101, COST, URL), ("a", "a", COST, "http://example.com"),
        ("a", "a", Definition("cost", ()), URL),
    ):  # fmt: skip
        with pytest.raises(BadInput):
            alerts.create(account, name, definition, url)
    assert alerts.list(None, "", 10) == []


def test_for_a_day_both_secrets_sign(alerts: Alerts, clock: Clock) -> None:
    first, rule = alerts.create("acme", "budget", COST, URL)
    second = alerts.rotate(rule.id, "acme")
    assert second is not None
    clock.now += OVERLAP_S - 1
    assert alerts.keys(rule.id) == (second, first)
    clock.now += 1
    assert alerts.keys(rule.id) == (second,)
    third = alerts.rotate(rule.id, "acme")
    assert alerts.keys(rule.id) == (third, second)


# -- firings -------------------------------------------------------------------------------------------------------------


def test_a_threshold_fires_once_for_each_revision_and_month(alerts: Alerts, deliveries: Deliveries) -> None:
    _, rule = alerts.create("acme", "budget", COST, URL)
    assert deliveries.record([firing(rule), firing(rule), firing(rule, "200"), firing(rule, period="2026-10")], START) == 3
    assert deliveries.record([firing(rule)], START) == 0
    assert deliveries.fired(["2026-11"]) == {firing(rule).key, firing(rule, "200").key}
    changed = alerts.change(rule.id, "acme", "budget", Definition("cost", ("100",), "USD"), URL)
    assert changed is not None
    assert deliveries.record([firing(rule, period="2026-12")], START) == 0  # it was looked at before it was changed
    assert deliveries.record([firing(changed)], START) == 1
    alerts.delete(rule.id, "acme")
    assert deliveries.record([firing(changed, "1")], START) == 0
    assert deliveries.oldest() is None  # with the rule all that waited for it is gone


def test_what_is_due_has_what_a_try_needs_and_shows_no_secret(alerts: Alerts, deliveries: Deliveries) -> None:
    secret, rule = alerts.create("acme", "budget", COST, URL)
    _, other = alerts.create("globex", "budget", COST, URL)
    deliveries.record([firing(rule)], START)
    deliveries.record([firing(other)], START + 1)
    first, second = deliveries.due(START + 1, 10)
    assert (first.rule_id, first.account, first.body, first.attempts, first.url, first.keys) == (rule.id, "acme", '{"at": "100"}', 0, URL, (secret,))
    assert secret not in repr(first)
    assert [due.id for due in deliveries.due(START, 10)] == [first.id]
    assert [due.id for due in deliveries.due(START + 1, 1)] == [first.id]
    assert [due.id for due in deliveries.due(START + 1, 10, busy=[first.id])] == [second.id]
    assert [due.id for due in deliveries.due(START + 1, 10, full=["globex"])] == [first.id]
    assert deliveries.oldest() == START


def test_tries_end_in_delivered_or_in_giving_up(alerts: Alerts, deliveries: Deliveries) -> None:
    _, rule = alerts.create("acme", "budget", COST, URL)
    deliveries.record([firing(rule), firing(rule, "200")], START)
    good, bad = deliveries.due(START, 10)
    assert deliveries.settle(good, Answer(200), START) == "delivered"
    now, ids = START, {bad.id}
    for attempts in range(len(RETRY_S)):
        assert deliveries.settle(bad, Answer(500, "answered 500"), now) == "pending"
        (found,) = [each for each in alerts.deliveries(rule.id) if each.id == bad.id]
        assert found.due_at is not None
        assert found.due_at >= now + RETRY_S[attempts]
        now = found.due_at
        (bad,) = deliveries.due(now, 10)
        assert bad.attempts == attempts + 1
        ids.add(bad.id)
    assert deliveries.settle(bad, Answer(0, "no answer within 10 s"), now) == "failed"
    assert deliveries.due(2**40, 10) == []
    assert len(ids) == 1
    found = {each.threshold: (each.status, each.attempts, each.last_error, each.due_at) for each in alerts.deliveries(rule.id)}
    wanted = {"delivered", "failed"}
    assert {status for status, *_ in found.values()} == wanted
    assert ("failed", len(RETRY_S) + 1, "no answer within 10 s", None) in found.values()


def test_a_receiver_that_is_gone_disables_its_rule(alerts: Alerts, deliveries: Deliveries) -> None:
    _, rule = alerts.create("acme", "budget", COST, URL)
    deliveries.record([firing(rule), firing(rule, "200")], START)
    first, _ = deliveries.due(START, 10)
    assert deliveries.settle(first, Answer(410, "answered 410"), START + 5) == "disabled"
    assert {each.status for each in alerts.deliveries(rule.id)} == {"disabled"}
    assert deliveries.enabled_rules() == []
    assert deliveries.record([firing(rule, period="2026-12")], START) == 0
    found = alerts.get(rule.id, None)
    assert found is not None
    assert found.disabled_at == START + 5
    enabled = alerts.change(rule.id, "acme", "budget", COST, URL)
    assert deliveries.enabled_rules() == [enabled]


def test_one_that_got_another_url_meanwhile_is_tried_there(alerts: Alerts, deliveries: Deliveries) -> None:
    _, rule = alerts.create("acme", "budget", COST, URL)
    deliveries.record([firing(rule)], START)
    (due,) = deliveries.due(START, 10)
    alerts.change(rule.id, "acme", "budget", COST, "https://example.com/other")
    assert deliveries.settle(due, Answer(410, "answered 410"), START) == "pending"
    assert [each.url for each in deliveries.due(2**40, 10)] == ["https://example.com/other"]


def test_old_firings_are_deleted_and_what_waits_is_not(alerts: Alerts, deliveries: Deliveries, engine: Engine) -> None:
    _, rule = alerts.create("acme", "budget", COST, URL)
    deliveries.record([firing(rule), firing(rule, "200")], START)
    deliveries.record([firing(rule, period="2026-12")], START + 1)
    for due in deliveries.due(START + 1, 10)[1:]:
        deliveries.settle(due, Answer(200), START)
    assert deliveries.sweep(START + KEPT_S) == 0
    assert deliveries.sweep(START + KEPT_S + 1) == 1
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(deliveries_table)).scalar_one() == 2


# -- the lease -----------------------------------------------------------------------------------------------------------


class Seconds:
    """A clock of one process."""

    def __init__(self, now: float = 0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def two(engine: Engine) -> tuple[Lease, Lease, Seconds, Seconds]:
    """Of two processes with clocks that have nothing to do with each other."""
    mine, others = Seconds(1e6), Seconds(5)
    return Lease(engine, "watch", "a", 10, mine), Lease(engine, "watch", "b", 10, others), mine, others


def test_a_lease_is_taken_over_when_its_holder_is_silent(engine: Engine) -> None:
    first, second, mine, others = two(engine)
    assert first.take()
    assert not second.take()
    for _ in range(5):  # as long as it is renewed nobody gets it, whatever the other's clock says
        others.now += 9.9
        assert not second.take()
        first.renew()
        others.now += 9.9
        assert not second.take()
    others.now += 9.9
    assert not second.take()
    mine.now += 10
    assert first.left() <= 0
    others.now += 0.2
    assert second.take()
    with pytest.raises(LeaseLost):
        first.renew()
    with pytest.raises(LeaseLost), first.transaction():
        pass
    assert second.left() == 10
    others.now += 11  # it could not renew, and nobody has taken it
    assert second.left() < 0
    assert second.take()


def test_who_lost_it_can_write_nothing(engine: Engine, alerts: Alerts) -> None:
    first, second, _, others = two(engine)
    _, rule = alerts.create("acme", "budget", COST, URL)
    first.take()
    second.take()
    others.now += 10
    assert second.take()
    assert first.left() > 0  # it was frozen, and does not know yet
    with pytest.raises(LeaseLost):
        Deliveries(engine, first).record([firing(rule)], START)
    assert Deliveries(engine, second).record([firing(rule)], START) == 1
    (due,) = Deliveries(engine, second).due(START, 1)
    with pytest.raises(LeaseLost):
        Deliveries(engine, first).settle(due, Answer(200), START)
    assert [each.status for each in alerts.deliveries(rule.id)] == ["pending"]


def test_one_that_is_let_go_is_free_at_once(engine: Engine) -> None:
    first, second, _, _ = two(engine)
    first.take()
    assert not second.take()
    first.release()
    assert first.left() <= 0
    assert second.take()
    first.release()  # it is the other's now
    second.renew()


def test_of_many_that_want_it_one_gets_it(engine: Engine) -> None:
    for holder in ("", "gone"):
        with transaction(engine) as connection:
            connection.execute(leases.delete())
            if holder:
                connection.execute(leases.insert().values(name="watch", holder="", beat=7))
        wanting = [Lease(engine, "watch", str(number), 10) for number in range(8)]
        with ThreadPoolExecutor(len(wanting)) as pool:
            assert sorted(pool.map(Lease.take, wanting)) == [False] * 7 + [True]
