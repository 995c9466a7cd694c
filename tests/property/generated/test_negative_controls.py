"""A core that is broken on purpose is caught, each time by the check that is meant to catch it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from ratemill.schemas.line_item import RatedLineItem
from ratemill.streams.core import accounts, amendments, chain, counted, entries, groups, metered, requests, segments, state, sweep
from ratemill.streams.core.corrections import Closed
from ratemill.streams.core.store import TALLY

from generated import cases, delivery
from generated.cases import CASES_PER_WORLD, check_history, run_case
from generated.chance import Chance
from generated.delivery import Play
from generated.histories import history_of
from generated.worlds import world_of

CASES = 100  # most breaches are caught within ten

Patch = Callable[[pytest.MonkeyPatch], None]
Puts = list[tuple[bytes, bytes]]


@pytest.fixture(autouse=True)
def fresh_worlds() -> Iterator[None]:
    """Rates remember what they computed, and must not remember what a broken core did."""
    world_of.cache_clear()
    yield
    world_of.cache_clear()


def caught(profile: str, run: Callable[[int, str], None] = run_case) -> str:
    """What the first case that fails says; "" if none of them does."""
    for seed in range(CASES):
        try:
            run(seed, profile)
        except AssertionError as error:
            return str(error)
    return ""


def _everywhere(monkeypatch: pytest.MonkeyPatch, name: str, value: Any, *modules: Any) -> None:
    for module in modules:
        monkeypatch.setattr(module, name, value)


def provider_by_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider of a window is that of the event that came last."""
    _everywhere(monkeypatch, "one_provider", lambda first, second: second or first, entries, groups, counted, metered)


def marks_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound stays where it was when usage comes before it."""
    monkeypatch.setattr(groups, "move_mark", lambda bound, mark, shift, total, around: (mark, []))


def amendments_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two amendments before their event the first leaves no trace."""
    monkeypatch.setattr(requests, "Mark", lambda original, now, counted, before=(): amendments.Mark(original, now, counted))


def samples_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the window of a sample itself is computed anew."""
    monkeypatch.setattr(
        metered, "windows_touched", lambda meter, default, samples, times: {(meter.calendar or default).start(t // 10**9) for t in times}
    )


def provider_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window whose samples name no provider takes that of the sample before it."""

    def provider(samples: Any, low: int, high: int) -> str:
        named = [sample.provider for sample in samples.between(low, high) if sample.provider]
        before = samples.before(low)
        return min(named) if named else before.provider if before is not None else ""

    monkeypatch.setattr(metered._Samples, "provider", provider)


def unchanged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charges of an account are written whether they changed or not."""
    kept = state.changes_between

    def changes(old: Any, new: Any) -> list[RatedLineItem]:
        return kept(old, new) + [replace(item) for key, item in new.items() if old.get(key) == item]

    monkeypatch.setattr(state, "changes_between", changes)


def twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charges of an account are written twice."""
    kept = state.changes_between
    monkeypatch.setattr(state, "changes_between", lambda old, new: kept(old, new) * 2)


def first_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep begins to count revisions anew."""
    kept = delivery.written
    monkeypatch.setattr(delivery, "written", lambda items, revision, cause: kept(items, 0, cause))


def no_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding and minimum of a period are left out."""
    kept = segments.period_components

    def components(*args: Any, **options: Any) -> list[Any]:
        return [component for component in kept(*args, **options) if component.key not in ("rounding", "minimum")]

    monkeypatch.setattr(segments, "period_components", components)


def other_list_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A charge says another cost than quantity x unit price."""
    kept = groups.period_item
    monkeypatch.setattr(groups, "period_item", lambda *args: replace(kept(*args), list_cost="0.1"))


def no_last_charge(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last charge of each statement is lost."""
    kept = chain.statement
    monkeypatch.setattr(chain, "statement", lambda *args: (made := kept(*args))._replace(charges=made.charges[:-1]))


def nothing_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was invoiced follows the usage."""
    monkeypatch.setattr(Closed, "freeze", lambda closed, store, key: [])


def billed_in_closed_month(monkeypatch: pytest.MonkeyPatch) -> None:
    """Corrections are billed in the month that they correct."""
    kept = state.corrections
    monkeypatch.setattr(state, "corrections", lambda base, now, calendar, corrected, billed: kept(base, now, calendar, corrected, corrected))


def contracts_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every partition bills the accounts without usage."""
    kept = delivery.sweep
    monkeypatch.setattr(delivery, "sweep", lambda state, target, after, limit, owns: kept(state, target, after, limit, lambda account: True))


def group_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that goes on leaves out one group."""
    kept = sweep.stored_groups

    def groups_behind(store: Any, after: bytes = b"") -> Iterator[Any]:
        found = kept(store, after)
        if after:
            next(found, None)
        return found

    monkeypatch.setattr(sweep, "stored_groups", groups_behind)


def totals_lost_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that stops within an account forgets the totals of the groups that it has passed."""
    kept = delivery.sweep

    def swept(*args: Any) -> sweep.Swept:
        found = kept(*args)
        return found if found.done else found._replace(puts=_without(found.puts, lambda key, value: key.startswith(TALLY) and value != b""))

    monkeypatch.setattr(delivery, "sweep", swept)


def totals_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Totals under the old prices stay."""
    kept = delivery.sweep

    def swept(*args: Any) -> sweep.Swept:
        found = kept(*args)
        return found._replace(puts=_without(found.puts, lambda key, value: key.startswith(TALLY) and not value))

    monkeypatch.setattr(delivery, "sweep", swept)


def _without(puts: Puts, unwanted: Callable[[bytes, bytes], bool]) -> Puts:
    return [(key, value) for key, value in puts if not unwanted(key, value)]


def totals_of_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several totals that changed in one commit only the first is stored."""
    kept = accounts.Account.take_puts
    monkeypatch.setattr(accounts.Account, "take_puts", lambda account: kept(account)[:1])


CONTROLS: list[tuple[Patch, str, str]] = [
    (provider_by_arrival, "prices", "two deliveries"),
    (marks_stay, "prices", "not the definition|a rerate changed what stood"),
    (amendments_replace, "prices", "two deliveries|usage of"),
    (samples_alone, "meters", "two deliveries|usage of"),
    (provider_before, "meters", "two deliveries"),
    (unchanged_again, "accounts", "an unchanged line item was written again"),
    (twice, "accounts", "one commit wrote a line item twice"),
    (first_revision, "prices", "a revision did not grow"),
    (no_rounding, "prices", "usage of .* costs .*, and should cost"),
    (other_list_cost, "prices", "list_cost='0.1'"),
    (no_last_charge, "accounts", "charge .* costs .*, and should cost"),
    (nothing_frozen, "prices", "not the definition|usage of .* costs .*, and should cost"),
    (billed_in_closed_month, "prices", "a line item of a closed month was written"),
    (contracts_of_others, "accounts", "two partitions"),
    (group_skipped, "prices", "not the definition"),
    (totals_lost_between, "accounts", "not the definition|charge|totals of"),
    (totals_left, "accounts", "under other rates are left"),
    (totals_of_one_row, "accounts", "not the definition|totals of"),
]


@pytest.mark.parametrize(("patch", "profile", "message"), CONTROLS, ids=[patch.__name__ for patch, _, _ in CONTROLS])
def test_a_broken_core_is_caught(patch: Patch, profile: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patch(monkeypatch)
    assert re.search(message, caught(profile)), patch.__doc__


def test_events_that_count_twice_are_caught() -> None:
    def without_deduplication(seed: int, profile: str) -> None:
        world = world_of(seed // CASES_PER_WORLD, profile)
        chance = Chance(f"case {seed} {profile}")
        check_history(chance, world, history_of(chance, world), Play(deduplicate=False))

    assert "usage of" in caught("prices", without_deduplication)


def test_a_core_that_is_not_broken_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cases that the controls run pass as they are: what is caught there is what was broken."""
    for profile in ("prices", "meters", "accounts"):
        assert caught(profile) == ""
    assert cases.run_case is run_case
