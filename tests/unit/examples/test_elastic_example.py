"""The example of a hosted search service: a month of three customers, and what follows after its close.

Every amount is worked out a second time here, in fractions and from the events, with code that shares nothing with the engine but the
YAML file of prices.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from decimal import localcontext
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner
from loading import load
from ratemill.cli.main import cli
from ratemill.invoicing.focus import check, row_of
from ratemill.pricing.money import EXACT
from ratemill.schemas.line_item import RatedLineItem

EXAMPLE = Path(__file__).parents[3] / "examples" / "elastic-cloud"
BOOK: dict[str, Any] = yaml.safe_load((EXAMPLE / "prices.yaml").read_text(encoding="utf-8"))
PRICES = {price["id"]: price for price in BOOK["prices"]}
ZERO = Fraction(0)
RATE = {"aurora": Fraction(1), "borealis": Fraction(1), "cumulus": Fraction("0.92")}
SUPPORT = {
    "aurora": ("support-enterprise", Fraction("0.20")),
    "borealis": ("support-gold", Fraction("0.10")),
    "cumulus": ("support-platinum", Fraction("0.15")),
}
MONTHS = {"2026-09": range(720), "2026-10": range(720, 720 + 744)}  # hours, from the start of the first month
EXPIRY = 12 * 24  # hours after which the first credit of aurora is worth nothing

Event = dict[str, Any]
Hours = dict[int, Fraction]  # hour -> cost or quantity
Parts = list[Fraction]  # amounts of a month before the first credit of aurora expires, and after
Key = tuple[str, str, str, str]  # account, month, SKU, adjustment


def script(name: str) -> ModuleType:
    return load(EXAMPLE / f"{name}.py", f"elastic_example_{name}")


USAGE = script("usage")
START = USAGE.START


def rate(folder: Path, *more: str) -> tuple[str, list[dict[str, Any]]]:
    arguments = ["rate", "--prices", str(EXAMPLE / "prices.yaml"), "--events", str(folder / "month.ndjson"), *more]
    result = CliRunner().invoke(cli, [*arguments, "--output", str(folder / "items.ndjson"), "--strict"], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return result.output, [json.loads(line) for line in (folder / "items.ndjson").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("elastic")
    for name, lines in USAGE.FILES.items():
        (found / name).write_text("".join(json.dumps(line) + "\n" for line in lines()), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def month(folder: Path) -> list[dict[str, Any]]:
    return rate(folder)[1]


@pytest.fixture(scope="module")
def after_close(folder: Path) -> list[dict[str, Any]]:
    return rate(folder, "--control", str(folder / "requests.ndjson"), "--late", str(folder / "late.ndjson"))[1]


def sums(items: Iterable[dict[str, Any]]) -> dict[Key, Fraction]:
    """Amounts other than 0. What corrects a month counts there."""
    found: dict[Key, Fraction] = defaultdict(Fraction)
    for item in items:
        month = item.get("x_CorrectedPeriod") or item["BillingPeriodStart"][:7]
        found[item["BillingAccountId"], month, item["SkuId"], item.get("x_Adjustment") or ""] += Fraction(item["BilledCost"])
    return {key: amount for key, amount in found.items() if amount}


def hour_of(event: Event) -> Fraction:
    """Hours since September began."""
    return hours_at(event["time"])


@cache
def hours_at(time: str) -> Fraction:
    return Fraction((datetime.fromisoformat(time) - START) // timedelta(seconds=1), 3_600)


def held(samples: list[tuple[Fraction, Fraction]], gap: Fraction, low: Fraction, high: Fraction) -> Fraction:
    """Quantity x hours from low to high: a sample holds until the next one, and for `gap` hours at most."""
    found, ends = ZERO, [time for time, _ in samples[1:]]
    for at, (time, quantity) in enumerate(samples):
        until = min(time + gap, ends[at] if at < len(ends) else time + gap)
        found += quantity * max(min(until, high) - max(time, low), ZERO)
    return found


def unit_price(account: str, hour: int, event: Event) -> Fraction:
    """The price of capacity, found cell by cell."""
    contract = account == "borealis" and hour >= 14 * 24
    values = {"region": event["data"]["region"], "dimensions.instance_type": event["data"]["dimensions"]["instance_type"]}
    for cell in PRICES["capacity-borealis" if contract else "capacity-2026"]["cells"]:
        if all(wanted in ("*", values[name]) for name, wanted in cell["match"].items()):
            return Fraction(cell["unit_price"])
    raise AssertionError(values)


def capacity(events: list[Event], account: str, hours: range) -> Hours:
    series: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["data"]["sku"] == "instance.ram" and event["subject"] == account:
            series[event["data"]["resource"]].append(event)
    cost: Hours = defaultdict(Fraction)
    for found in series.values():
        zones = Fraction(found[0]["data"]["dimensions"]["zones"])
        samples = sorted((hour_of(event), Fraction(event["data"]["quantity"]) / 1024 * zones) for event in found)
        at = 0
        for hour in hours:
            while at + 1 < len(samples) and samples[at + 1][0] <= hour:
                at += 1
            quantity = held(samples[at : at + 6], Fraction(3, 4), Fraction(hour), Fraction(hour + 1))
            cost[hour] += round(quantity, 12) * unit_price(account, hour, found[0])
    return cost


def hourly(events: list[Event], account: str, sku: str, **wanted: str) -> Hours:
    """Quantity by hour of events that have all these dimensions."""
    found: Hours = defaultdict(Fraction)
    for event in events:
        data = event["data"]
        if data["sku"] == sku and event["subject"] == account and wanted.items() <= {**data["dimensions"], "provider": data["provider"]}.items():
            found[int(hour_of(event))] += Fraction(data["quantity"])
    return found


def average(events: list[Event], account: str, sku: str, low: int, high: int) -> Fraction:
    """What was stored on average from hour low to hour high, by resource, each rounded to 12 digits."""
    series: dict[str, list[tuple[Fraction, Fraction]]] = defaultdict(list)
    for event in events:
        if event["data"]["sku"] == sku and event["subject"] == account:
            series[event["data"]["resource"]].append((hour_of(event), Fraction(event["data"]["quantity"])))
    return sum((round(held(sorted(s), Fraction(2), Fraction(low), Fraction(high)) / (high - low), 12) for s in series.values()), ZERO)


def beyond_free(quantities: Hours, free: int) -> Hours:
    """What is charged of each hour when the first units are free."""
    charged, through = {}, ZERO
    for hour, quantity in sorted(quantities.items()):
        charged[hour] = max(through + quantity, Fraction(free)) - max(through, Fraction(free))
        through += quantity
    return charged


def times(quantities: Hours, price: str, unit: int = 1) -> Hours:
    return {hour: quantity / unit * Fraction(price) for hour, quantity in quantities.items()}


def used(events: list[Event], account: str, hours: range) -> dict[str, Hours]:
    """What the usage of a month costs in dollars, by SKU and hour. An average counts in the first hour of its month."""
    # Readings hold into the next month; everything else is of its hour.
    sent = [event for event in events if int(hour_of(event)) in hours]
    internode = hourly(sent, account, "data.transfer", direction="internode")
    for hour, quantity in hourly(sent, account, "data.transfer", direction="internode", provider="azure").items():
        internode[hour] -= quantity
    snapshots, stored = (average(events, account, sku, hours.start, hours.stop) for sku in ("snapshot.storage", "serverless.storage"))
    vcus = [
        times(hourly(sent, account, "serverless.vcu", kind=cell["match"]["dimensions.kind"]), cell["unit_price"])
        for cell in PRICES["vcus-2026"]["cells"]
    ]
    tests = {hour: Fraction(-(-seconds // 60)) for hour, seconds in hourly(sent, account, "synthetics.browser").items()}  # one run an hour
    requests = {hour: quantity / 1_000 for hour, quantity in hourly(sent, account, "snapshot.requests").items()}
    return {
        "es.capacity": capacity(events, account, hours),
        "es.transfer.out": times(hourly(sent, account, "data.transfer", direction="out"), "0.032", 10**9),
        "es.transfer.internode": times(internode, "0.016", 10**9),
        "es.snapshot.storage": {hours.start: max(snapshots - 100, ZERO) * Fraction("0.033")},
        "es.snapshot.requests": times(beyond_free(requests, 100), "0.0018"),
        "serverless.compute": {hour: sum((one.get(hour, ZERO) for one in vcus), ZERO) for hour in hours},
        "serverless.storage": {hours.start: stored * Fraction("0.047")},
        "synthetics.browser": times(tests, "0.0123"),
    }


def allowance(costs: Hours, price: str, free: Fraction) -> tuple[Hours, Fraction]:
    """What `free` GB take off each hour, the first ones first; and how many of them are left."""
    taken: Hours = {}
    for hour, cost in sorted(costs.items()):
        taken[hour] = -min(cost, free * Fraction(price))
        free += taken[hour] / Fraction(price)
    return taken, free


def split(costs: Hours, account: str) -> Parts:
    """The costs of the hours in the account's currency."""
    early = sum((cost for hour, cost in costs.items() if hour < EXPIRY), ZERO)
    return [early * RATE[account], (sum(costs.values(), ZERO) - early) * RATE[account]]


def paid(due: dict[tuple[str, str], Parts], left: dict[str, Fraction]) -> dict[tuple[str, str], Parts]:
    """What credits pay, SKU by SKU in the order of their names; the one that expires first is used first. `left` is what they still hold."""
    owed: dict[str, Parts] = {}
    for (sku, _), amounts in due.items():
        owed[sku] = [a + b for a, b in zip(owed.get(sku, [ZERO, ZERO]), amounts, strict=True)]
    found: dict[tuple[str, str], Parts] = defaultdict(lambda: [ZERO, ZERO])
    for part, valid in enumerate((("ecu-2025", "ecu-2026"), ("ecu-2026",))):
        for credit in valid:
            for sku in sorted(owed):
                amount = min(left[credit], owed[sku][part])
                assert amount >= 0
                left[credit] -= amount
                owed[sku][part] -= amount
                found[sku, "credits"][part] -= amount
    return dict(found)


def invoices(events: list[Event], account: str, closed: bool) -> dict[Key, Fraction]:
    """Both months as they are due for these events: usage, allowance, support, a fee, credits, rounding.

    closed: September is, so a minimum of it is due.
    """
    found: dict[Key, Fraction] = {}
    left = {"ecu-2025": Fraction(1_500), "ecu-2026": Fraction(1_200)} if account == "aurora" else {}
    for month, hours in MONTHS.items():
        costs = used(events, account, hours)
        due = {(sku, ""): split(by_hour, account) for sku, by_hour in costs.items()}
        taken, free = allowance(costs["es.transfer.out"], "0.032", Fraction(100))  # 100 GB, of the dearer transfer first
        due["es.transfer.out", "transfer-pool"] = split(taken, account)
        due["es.transfer.internode", "transfer-pool"] = split(allowance(costs["es.transfer.internode"], "0.016", free)[0], account)
        name, share = SUPPORT[account]
        support = [sum((amounts[part] for amounts in due.values()), ZERO) * share for part in range(2)]
        if account == "borealis" and closed and month == "2026-09":
            support[1] += max(120 - sum(support), ZERO)
        due[name, name] = support
        if account == "cumulus":
            due["es.tam", "fees"] = [ZERO, Fraction(300 * 21, 30) if month == "2026-09" else Fraction(300)]
        if account == "aurora":
            due |= paid(due, left)
        total = sum((sum(amounts) for amounts in due.values()), ZERO)
        due["rounding", "rounding"] = [ZERO, (total * 100 + Fraction(1, 2)).__floor__() / Fraction(100) - total]
        found |= {(account, month, *key): sum(amounts, ZERO) for key, amounts in due.items()}
    return {key: amount for key, amount in found.items() if amount}


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(USAGE.month())


@pytest.fixture(scope="module")
def in_time(events: list[Event]) -> list[Event]:
    """What there would have been if everything had come in time, and right."""
    (amend,) = [request for request in USAGE.requests() if request["control"] == "amend"]
    name, quantity = amend["original"][2], amend["replacement"][5]
    found = [{**event, "data": {**event["data"], "quantity": quantity}} if event["id"] == name else event for event in events]
    assert sum(one != other for one, other in zip(events, found, strict=True)) == 1
    return [*found, *USAGE.late()]


@pytest.fixture(scope="module")
def known(events: list[Event]) -> dict[str, dict[Key, Fraction]]:
    """What both months would come to by what was known when September was closed."""
    return {account: invoices(events, account, closed=True) for account in RATE}


@pytest.fixture(scope="module")
def right(in_time: list[Event]) -> dict[str, dict[Key, Fraction]]:
    """What both months come to had everything come in time."""
    return {account: invoices(in_time, account, closed=True) for account in RATE}


@pytest.mark.parametrize("account", RATE)
def test_the_month_is_that_of_a_second_computation(
    events: list[Event], known: dict[str, dict[Key, Fraction]], month: list[dict[str, Any]], after_close: list[dict[str, Any]], account: str
) -> None:
    own = [item for item in month if item["BillingAccountId"] == account]
    assert sums(own) == invoices(events, account, closed=False)
    # What was invoiced of September: whatever comes later, it stays.
    invoiced = [item for item in after_close if item["BillingAccountId"] == account and item["BillingPeriodStart"].startswith("2026-09")]
    assert sums(invoiced) == {key: amount for key, amount in known[account].items() if key[1] == "2026-09"}
    assert {item["BillingCurrency"] for item in own} == {"EUR" if account == "cumulus" else "USD"}


@pytest.mark.parametrize("account", RATE)
def test_with_its_corrections_every_month_is_what_it_would_have_been_in_time(
    right: dict[str, dict[Key, Fraction]], known: dict[str, dict[Key, Fraction]], after_close: list[dict[str, Any]], account: str
) -> None:
    own = [item for item in after_close if item["BillingAccountId"] == account]
    assert sums(own) == right[account]
    # The corrections are about something: without them it is what was known at the close.
    assert sums(item for item in own if not item["ChargeClass"]) == known[account]
    assert (sums(own) != known[account]) == (account != "cumulus")


def is_correction(item: dict[str, Any], adjustment: str) -> bool:
    return item["ChargeClass"] == "Correction" and (item.get("x_Adjustment") or "") == adjustment


MUTANTS: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "usage is not corrected": lambda item: [] if is_correction(item, "") else [item],
    "support is not corrected": lambda item: [] if is_correction(item, "support-enterprise") else [item],
    "the allowance is not corrected": lambda item: [] if is_correction(item, "transfer-pool") else [item],
    "rounding is not corrected": lambda item: [] if is_correction(item, "rounding") else [item],
    "corrections are billed twice": lambda item: [item, item] if item["ChargeClass"] else [item],
    "corrections are charges of the open month": lambda item: [{**item, "ChargeClass": None, "x_CorrectedPeriod": None}],
    "corrections do not name their adjustment": lambda item: [{**item, "x_Adjustment": ""} if item["ChargeClass"] else item],
    "a digit is lost": lambda item: [{**item, "BilledCost": item["BilledCost"][:-1]} if is_correction(item, "rounding") else item],
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_comparison_finds_wrong_corrections(right: dict[str, dict[Key, Fraction]], after_close: list[dict[str, Any]], mutant: str) -> None:
    every = {key: amount for amounts in right.values() for key, amount in amounts.items()}
    assert sums(after_close) == every
    assert sums(wrong for item in after_close for wrong in MUTANTS[mutant](item)) != every


def test_the_story_of_the_month(events: list[Event], month: list[dict[str, Any]]) -> None:
    due = sums(month)
    # One credit expires on the 13th with something left; the other one is used up to the last cent.
    paid = defaultdict(Fraction)
    for item in month:
        if item.get("x_Adjustment") == "credits":
            paid[item["ChargeDescription"].split(":")[0]] += Fraction(item["BilledCost"])
    assert paid["ecu-2026"] == -1_200
    assert -1_500 < paid["ecu-2025"] < -1_300
    # The vendor's worked example: 120 GB on average, 20 of them charged.
    assert due["cumulus", "2026-09", "es.snapshot.storage", ""] == 20 * Fraction("0.033") * Fraction("0.92")
    # Three hours unheard of, less the 45 minutes that the last reading holds; the reading before came half an hour earlier.
    silent = [cost for hour, cost in capacity(events, "borealis", range(6 * 24 + 2, 6 * 24 + 5)).items()]
    kibana = Fraction("0.0438")
    assert silent == [30 * Fraction(1, 4) * Fraction("0.0438") + kibana, kibana, kibana]
    # The contract begins with the 15th.
    prices = {
        (item["ChargePeriodStart"] >= "2026-09-15", item["x_PriceId"])
        for item in month
        if item["SkuId"] == "es.capacity" and item["BillingAccountId"] == "borealis"
    }
    assert prices == {(False, "capacity-2026"), (True, "capacity-borealis")}


def test_what_comes_after_the_close_is_a_correction(month: list[dict[str, Any]], after_close: list[dict[str, Any]]) -> None:
    def september(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [item for item in items if item["BillingPeriodStart"].startswith("2026-09") and not item.get("x_Adjustment")]

    # Of what was used in the closed month nothing changes, whatever comes behind it.
    assert september(after_close) == september(month)
    corrections = [item for item in after_close if item["ChargeClass"]]
    assert {(item["ChargeClass"], item["BillingPeriodStart"][:7], item["x_CorrectedPeriod"]) for item in corrections} == {
        ("Correction", "2026-10", "2026-09")
    }
    (amend,) = [request for request in USAGE.requests() if request["control"] == "amend"]
    replica = sum(Fraction(event["data"]["quantity"]) for event in USAGE.late() if event["subject"] == "aurora") / 10**9 * Fraction("0.032")
    refund = (Fraction(amend["original"][5]) - Fraction(amend["replacement"][5])) / 10**9 * Fraction("0.032")
    unheard = 30 * (3 - Fraction(1, 4)) * Fraction("0.0438")
    found = sums(corrections)
    rounding = {account: found.pop((account, "2026-09", "rounding", "rounding")) for account in ("aurora", "borealis")}
    out, between = Fraction("52.619364") * Fraction("0.032"), Fraction("38.9038728") * Fraction("0.016")
    assert found == {
        # The allowance and both credits were used up when the month was closed: late usage is due whole, and support of it.
        ("aurora", "2026-09", "es.transfer.out", ""): replica,
        ("aurora", "2026-09", "support-enterprise", "support-enterprise"): replica / 5,
        # Less transfer out than the allowance covers: what it gave there is taken back, and the rest of it is for the other transfer.
        # Support was and remains the minimum.
        ("borealis", "2026-09", "es.transfer.out", ""): -refund,
        ("borealis", "2026-09", "es.transfer.out", "transfer-pool"): Fraction("3.2") - out,
        ("borealis", "2026-09", "es.transfer.internode", "transfer-pool"): -between,
        ("borealis", "2026-09", "es.capacity", ""): unheard,
    }
    for account, amount in rounding.items():
        assert abs(amount) < Fraction(1, 100)
        assert (sum(one for key, one in found.items() if key[0] == account) + amount) * 100 % 1 == 0


def test_every_total_is_in_whole_cents(after_close: list[dict[str, Any]]) -> None:
    totals: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for item in after_close:
        totals[item["BillingAccountId"], item["BillingPeriodStart"]] += Fraction(item["BilledCost"])
    assert {amount * 100 % 1 for amount in totals.values()} == {0}
    assert len(totals) == 6


def test_the_book_is_valid_and_marks_what_is_made_up() -> None:
    result = CliRunner().invoke(cli, ["prices", "check", str(EXAMPLE / "prices.yaml")])
    assert result.exit_code == 0, result.output
    public = {"0", "0.09", "0.14", "0.047"}
    text = (EXAMPLE / "prices.yaml").read_text(encoding="utf-8").splitlines()
    marked = [line for line in text if "unit_price:" in line and "match" not in line and "example" not in line]
    assert {line.split('"')[1] for line in marked} <= public


def test_the_generator_gives_the_same_every_time() -> None:
    for lines in USAGE.FILES.values():
        assert list(lines()) == list(lines())


def test_the_documents_show_the_invoices(after_close: list[dict[str, Any]]) -> None:
    shown = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    printed = "\n".join(f"    {line}".rstrip() for line in script("invoice").invoices(after_close)).rstrip()
    assert printed.count("total") == 6
    assert printed in shown
    assert f"{len(after_close):,} line items" in shown
    live = (EXAMPLE.parents[1] / "docs" / "month.md").read_text(encoding="utf-8")
    assert printed in live
    assert f"`ratemill rate` has {len(after_close):,}; 0 differ" in live
    verdicts = live.count("    Everything that can be recomputed is equal") + live.count("    Nothing differs")
    assert live.count("$ ratemill explain ") == verdicts > 9
    digest = CliRunner().invoke(cli, ["prices", "check", str(EXAMPLE / "prices.yaml")]).stdout.split("digest ")[1].split()[0]
    assert f"10 prices in USD, digest {digest}\n" in shown
    assert f"10 prices in USD to ratemill.prices, digest {digest}" in live
    expired = 1_500 + sum(Fraction(item["BilledCost"]) for item in after_close if item["ChargeDescription"].startswith("ecu-2025"))
    assert f"the 13th with {round(expired, 2).__float__():.2f} unused" in shown


def test_credits_uplifts_and_corrections_are_right_as_focus_rows(after_close: list[dict[str, Any]]) -> None:
    items = [msgspec.convert(item, RatedLineItem) for item in after_close]
    assert {item.charge_category for item in items} == {"Usage", "Purchase", "Adjustment", "Credit"}
    assert any(item.charge_class == "Correction" for item in items)
    with localcontext(EXACT):
        found = check((row_of(item, "1.2") for item in items), "1.2")
    assert (found.rows, found.breaches, found.examples) == (len(items), {}, [])
