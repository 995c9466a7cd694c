"""Closed months, corrections, amended events and meters, explained."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from ratemill.schemas.control import Amend, Close, Origin
from ratemill.schemas.explanation import Explanation
from ratemill.streams.core.store import SAMPLE

TIERS = [{"up_to": "100", "unit_price": "0.09"}, {"unit_price": "0.05"}]
MARCH, APRIL = 2026 * 12 + 2, 2026 * 12 + 3


def close(period: str, id: str = "c") -> Close:
    return Close(id=id * 32, author="bob", reason=f"{period} is done", at_ns=0, period=period)


def cancel(event: Any, replacement: Any = None) -> Amend:
    origin = Origin("usage.raw.aws", 0, 0, 0)
    return Amend(id="a" * 32, author="eve", reason="metered twice", at_ns=0, original=event, origin=origin, replacement=replacement)


def verdicts(explanation: Explanation) -> dict[str, str]:
    return {check.name: check.verdict for check in explanation.audit}


def values(explanation: Explanation, at: int = 0) -> dict[str, str]:
    return {value.name: value.value for value in explanation.arithmetic[at].values}


# -- closed months ---------------------------------------------------------------------------------------------------


def test_an_invoiced_line_item_is_final_and_stays(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(model="graduated", tiers=TIERS))
    r.send(use("95", "03-01T00:00"))
    r.close(MARCH, close("2026-03"))
    r.send(use("3", "03-01T00:10"))
    found = r.explain(r.item("tier-1", charge_class=None))
    assert (found.line_item.status, found.line_item.cost) == ("final", "8.55")
    assert found.line_item.status_in_words == "the period was closed on 1970-01-01T00:00:00Z by bob: 2026-03 is done"
    assert verdicts(found)["recomputed"] == "equal"
    assert [(each.billing_period, each.quantity, each.cost) for each in found.corrections] == [("2026-04", "3", "0.27")]
    assert r.tampered(r.item("tier-1", charge_class=None), billed_cost="8.82").verdict == "differs"


def test_a_correction_is_what_ought_to_have_been_less_what_was_invoiced(rig: Any, use: Any, book: Any) -> None:
    """95 in the window were invoiced at 8.55; 8 come late: 5 more at 0.09 are 0.45, and 3 at 0.05 are 0.15."""
    r = rig(book(model="graduated", tiers=TIERS))
    r.send(use("95", "03-01T00:00"))
    r.close(MARCH, close("2026-03"))
    r.send(use("8", "03-01T00:10"))
    first = r.explain(r.item("tier-1", charge_class="Correction"))
    assert values(first) == {"invoiced": "95 × 0.09 = 8.55", "ought to have been": "100 × 0.09 = 9", "this correction": "5 × 0.09 = 0.45"}
    assert (first.line_item.corrects_period, first.line_item.billing_period, first.line_item.status) == ("2026-03", "2026-04", "estimate")
    second = r.explain(r.item("tier-2", charge_class="Correction"))
    assert values(second) == {"invoiced": "nothing", "ought to have been": "3 × 0.05 = 0.15", "this correction": "3 × 0.05 = 0.15"}
    for found in (first, second):
        assert (found.events.counted, found.events.quantity, verdicts(found)["recomputed"], found.verdict) == (2, "103", "equal", "equal")
    assert r.tampered(r.item("tier-2", charge_class="Correction"), pricing_quantity="4").verdict == "differs"


def test_a_new_price_is_two_corrections_and_each_says_which_half_it_is(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(model="unit", unit_price="2"))
    r.send(use("10", "03-01T00:00"))
    r.close(MARCH, close("2026-03"))
    r.publish(book(model="unit", unit_price="3"), "dearer")
    halves = {each.x_price_version: r.explain(each) for each in r.newest().values() if each.charge_class == "Correction"}
    back, books = sorted(halves.values(), key=lambda found: Decimal(found.line_item.cost))
    for found, cost, note, held in ((back, "-20", "takes back what was invoiced; ", False), (books, "30", "books what ought to have been; ", True)):
        assert values(found)["ought to have been"] == "10 × 3 = 30"
        (this,) = [value for value in found.arithmetic[0].values if value.name == "this correction"]
        assert (found.line_item.cost, found.verdict) == (cost, "equal")
        assert this.note.startswith(note)
        assert found.price.held is held


def test_when_the_next_month_is_closed_line_item_and_corrections_hold_together(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(model="unit", unit_price="2"))
    r.send(use("10", "03-01T00:00"))
    r.close(MARCH, close("2026-03"))
    r.send(use("4", "03-01T00:10"), use("1", "04-01T00:00"))
    r.close(APRIL, close("2026-04", "d"))
    item = r.item("tier-1", "2026-03", charge_class=None)
    found = r.explain(item)
    assert found.line_item.status_in_words.endswith("2026-03 is done")
    says = next(check.says for check in found.audit if check.name == "recomputed")
    assert says == "recomputed from 1 window: equal together with what was corrected since (1)"
    assert r.explain(item, related={}).verdict == "differs"  # without them it is not
    billed = r.explain(r.item("tier-1", charge_class="Correction"))
    assert verdicts(billed)["recomputed"] == "unknown"
    assert billed.verdict == "unknown"


# -- amended events --------------------------------------------------------------------------------------------------


def test_a_cancelled_event_counts_no_more(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(model="unit", unit_price="2"))
    wrong = use("4", "03-01T00:30", id="wrong")
    r.send(use("10", "03-01T00:00"), wrong)
    r.amend(cancel(wrong))
    found = r.explain(r.item("tier-1"))
    assert (found.line_item.quantity, found.events.quantity, found.events.counted, found.events.amended) == ("10", "10", 1, 1)
    assert {each.id: (each.quantity, each.note) for each in found.events.shown}["wrong"] == ("0", "cancelled")
    assert found.revisions[-1].cause_in_words == "amended event aaaaaaaa by eve: metered twice"
    assert found.verdict == "equal"


def test_an_event_that_was_moved_to_another_window(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(model="unit", unit_price="2"))
    wrong = use("4", "03-01T00:30", id="wrong")
    r.send(use("10", "03-01T00:00"), wrong)
    r.amend(cancel(wrong, use("5", "03-01T07:00", id="wrong")))
    left, come = r.explain(r.item("tier-1", "2026-03-01T00")), r.explain(r.item("tier-1", "2026-03-01T07"))
    assert (left.events.quantity, come.events.quantity, left.verdict, come.verdict) == ("10", "5", "equal", "equal")
    assert left.events.shown[1].note == "amended, was 4 u; now it counts elsewhere"
    assert come.events.shown[0].note == "amended, was 4 u"


# -- meters ----------------------------------------------------------------------------------------------------------


def metered(**fields: Any) -> dict[str, Any]:
    return {
        "currency": "USD",
        "prices": [{"id": "p", "sku": "es.ram", "unit": "GB-h", "model": "unit", "unit_price": "0.5"}],
        "meters": [{"id": "ram", "event": "instance.ram", "sku": "es.ram", "unit": "GB-h", **fields}],
    }


def test_a_meter_that_sums(rig: Any, use: Any) -> None:
    """quantity x factor: 2 x 3 + 1 x 4 = 10; the third is filtered out."""
    r = rig(metered(aggregation="sum", quantity="quantity * number(dimensions.factor)", filter="dimensions.tier == \"hot\"", group_by=["region"]))
    r.send(
        use("2", "03-01T00:00", sku="instance.ram", unit="GB", dimensions={"factor": "3", "tier": "hot"}),
        use("1", "03-01T00:20", sku="instance.ram", unit="GB", dimensions={"factor": "4", "tier": "hot"}),
        use("9", "03-01T00:20", sku="instance.ram", unit="GB", dimensions={"factor": "4", "tier": "cold"}),
    )
    found = r.explain(r.item("tier-1"))
    assert (found.line_item.sku, found.line_item.quantity, found.line_item.cost) == ("es.ram", "10", "5")
    assert (found.events.counted, found.events.quantity, sorted(each.quantity for each in found.events.shown)) == (2, "10", ["4", "6"])
    assert values(found, 1)["meter"] == "ram"
    assert found.verdict == "equal"


def test_a_meter_that_weighs_by_time(rig: Any, use: Any) -> None:
    """4 GB from 00:30, 8 GB from 01:15: in the first hour 4 x 0.5 = 2; in the second 4 x 0.25 + 8 x 0.75 = 7."""
    r = rig(metered(aggregation="time_weighted", per="hour", gap_limit="2h", carry_forward=True, digits=12))
    r.send(use("4", "03-01T00:30", sku="instance.ram", unit="GB", id="first"), use("8", "03-01T01:15", sku="instance.ram", unit="GB", id="second"))
    first, second = (r.explain(r.item("tier-1", f"2026-03-01T0{hour}")) for hour in (0, 1))
    assert (first.line_item.quantity, second.line_item.quantity) == ("2", "7")
    assert [(v.value, v.note) for v in second.arithmetic[1].values[2:]] == [
        ("4 GB", "× 900 s   src first, before the window"),
        ("8 GB", "× 2,700 s   src second"),
        ("7", "GB-h"),
    ]
    for found in (first, second):
        assert (verdicts(found)["recomputed"], verdicts(found)["meter"], verdicts(found)["events"]) == ("equal", "equal", "equal")
        assert found.verdict == "equal"
    item = r.item("tier-1", "2026-03-01T01")
    state = {key: value for key, value in r.facts(item).state.items() if key[:1] != SAMPLE}
    samples = sorted(key for key in r.facts(item).state if key[:1] == SAMPLE)
    state[samples[1]] = r.facts(item).state[samples[1]]
    assert verdicts(r.explain(item, state=state))["meter"] == "differs"  # a sample is gone


def test_the_event_of_a_reading_that_still_holds_is_among_the_events(rig: Any, use: Any) -> None:
    """4 GB from 23:30 of the last month on, amended to 6: the window from 00:00 to 01:00 has no event of its own, and rests on it alone."""
    r = rig(metered(aggregation="time_weighted", per="hour", gap_limit="2h", digits=12))
    held = use("4", "02-28T23:30", sku="instance.ram", unit="GB", id="held")
    r.send(held, use("7", "02-28T20:30", sku="instance.ram", unit="GB", id="over"))
    found = r.explain(r.item("tier-1", "2026-03-01T00"))
    assert (found.line_item.quantity, found.events.counted, found.events.quantity, found.verdict) == ("4", 0, "0", "equal")
    (event,) = found.events.shown
    assert (event.id, event.quantity, event.offset, event.note) == ("held", "4", 0, "before the window")
    r.amend(cancel(held, use("6", "02-28T23:30", sku="instance.ram", unit="GB", id="held")))
    (event,) = r.explain(r.item("tier-1", "2026-03-01T00")).events.shown
    assert (event.quantity, event.note) == ("6", "amended, was 4 GB, before the window")
    assert [each.id for each in r.explain(r.item("tier-1", "2026-02-28T23")).events.shown] == ["held"]  # what held before it ended


def test_the_reading_that_a_counter_goes_on_from_is_among_the_events(rig: Any, use: Any) -> None:
    r = rig(metered(aggregation="counter"))
    r.send(*(use(q, f"03-01T{at}", sku="instance.ram", unit="GB-h", id=at) for q, at in (("100", "00:10"), ("130", "01:20"))))
    found = r.explain(r.item("tier-1", "2026-03-01T01"))
    assert [(each.id, each.quantity, each.note) for each in found.events.shown] == [("00:10", "100", "before the window"), ("01:20", "130", "")]
    assert (found.line_item.quantity, found.events.counted, found.verdict) == ("30", 1, "equal")


@pytest.mark.parametrize(("aggregation", "quantity"), [("max", "9"), ("min", "2"), ("latest", "3")])
def test_a_meter_that_picks_a_reading(rig: Any, use: Any, aggregation: str, quantity: str) -> None:
    r = rig(metered(aggregation=aggregation))
    r.send(*(use(q, f"03-01T00:{m}", sku="instance.ram", unit="GB-h") for q, m in (("2", "01"), ("9", "20"), ("3", "40"))))
    found = r.explain(r.item("tier-1"))
    assert (found.line_item.quantity, values(found, 1)["this window"], verdicts(found)["meter"]) == (quantity, quantity, "equal")
    assert [each.quantity for each in found.events.shown] == ["2", "9", "3"]
    assert next(check.says for check in found.audit if check.name == "events") == "3 events read 14, as the samples that the meter keeps do"
    r.events.pop()
    assert verdicts(r.explain(r.item("tier-1")))["events"] == "differs"


def test_a_counter_that_restarts(rig: Any, use: Any) -> None:
    """100, 130, then 20 after a restart: 30 and 20 more; the first one is where counting begins."""
    r = rig(metered(aggregation="counter"))
    r.send(*(use(q, f"03-01T00:{m}", sku="instance.ram", unit="GB-h", id=m) for q, m in (("100", "01"), ("130", "20"), ("20", "40"))))
    found = r.explain(r.item("tier-1"))
    assert [v.note for v in found.arithmetic[1].values[2:5]] == ["src 01", "+30   src 20", "+20 (restarted)   src 40"]
    assert (found.line_item.quantity, found.verdict) == ("50", "equal")


def test_a_month_in_berlin_begins_before_that_of_utc(rig: Any, use: Any) -> None:
    """23:30 UTC on the last of March is April in Berlin."""
    r = rig(metered(aggregation="sum", timezone="Europe/Berlin", window="hour"))
    r.send(use("2", "03-31T22:30", sku="instance.ram", unit="GB-h"))
    item = r.item("tier-1")
    assert item.billing_period_start == "2026-03-31T22:00:00Z"
    found = r.explain(item)
    assert (found.line_item.billing_period, found.line_item.status, found.verdict) == ("2026-04", "estimate", "equal")
    r.close(MARCH, close("2026-03"))
    assert r.explain(r.item("tier-1")).line_item.status == "estimate"
    r.close(APRIL, close("2026-04", "d"))
    found = r.explain(r.item("tier-1"))
    assert (found.line_item.status, found.verdict) == ("final", "equal")


def test_a_meter_that_took_over_from_another(rig: Any, use: Any) -> None:
    """Until the 15th the highest reading, from then on the lowest."""
    tariff = metered(aggregation="max", effective_to="2026-03-15T00:00:00Z")
    tariff["meters"].append(tariff["meters"][0] | {"id": "ram-2", "aggregation": "min", "effective_from": "2026-03-15T00:00:00Z"})
    del tariff["meters"][1]["effective_to"]
    r = rig(tariff)
    r.send(*(use(q, f"03-{day}T00:{m}", sku="instance.ram", unit="GB-h") for day in (14, 15) for q, m in (("2", "01"), ("9", "20"))))
    for start, meter, quantity in (("2026-03-14", "ram", "9"), ("2026-03-15", "ram-2", "2")):
        found = r.explain(r.item("tier-1", start))
        assert [(values(found, 1)["meter"], len(found.arithmetic)), found.line_item.quantity] == [(meter, 2), quantity]
        assert verdicts(found)["meter"] == "equal"


def test_samples_that_came_after_the_close_are_no_difference(rig: Any, use: Any) -> None:
    r = rig(metered(aggregation="max"))
    r.send(use("5", "03-01T00:01", sku="instance.ram", unit="GB-h"))
    r.close(MARCH, close("2026-03"))
    r.send(use("9", "03-01T00:02", sku="instance.ram", unit="GB-h"))
    invoiced, corrected = r.explain(r.item("tier-1", charge_class=None)), r.explain(r.item("tier-1", charge_class="Correction"))
    assert (verdicts(invoiced)["meter"], verdicts(invoiced)["recomputed"]) == ("unknown", "equal")
    assert (corrected.line_item.quantity, verdicts(corrected)["meter"], verdicts(corrected)["recomputed"]) == ("4", "equal", "equal")
