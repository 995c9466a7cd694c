"""A seed decides everything, and over seeds everything comes up."""

from __future__ import annotations

from chaos.faults import FAULTS
from chaos.schedule import KINDS, draw


def test_the_same_seed_gives_the_same_plan() -> None:
    assert draw(7, 60) == draw(7, 60)
    assert draw(7, 60) != draw(8, 60)


def test_every_kind_of_fault_comes_up_and_can_be_brought_about() -> None:
    drawn = {brokers: {fault.kind for seed in range(30) for fault in draw(seed, 60, brokers).faults} for brokers in (1, 3)}
    assert drawn[3] == set(KINDS) == set(FAULTS)
    assert drawn[1] == set(KINDS) - {"broker-restart"}


def test_one_and_three_brokers_and_two_to_four_workers_come_up() -> None:
    plans = [draw(seed, 60) for seed in range(30)]
    assert sum(plan.brokers == 3 for plan in plans) == 5
    assert {plan.workers for plan in plans} == {2, 3, 4}
    assert draw(1, 60, brokers=3).brokers == 3


def test_faults_of_a_domain_do_not_overlap_and_leave_usage_before_and_after() -> None:
    for seed in range(200):
        plan = draw(seed, 60)
        assert plan.faults
        busy: dict[str, float] = {}
        for fault in plan.faults:
            domain = KINDS[fault.kind].domain
            assert busy.get(domain, 4.0) <= fault.at_s < 59
            assert fault.at_s + fault.lasts_s <= 60.01
            busy[domain] = fault.at_s + fault.lasts_s
