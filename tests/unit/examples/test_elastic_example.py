"""The example of a hosted search service: a month of three customers, and what follows after its close.

Every amount is worked out a second time here, in fractions and from the events, with code that shares nothing with the engine but the
YAML file of prices.
"""

from __future__ import annotations

import importlib.util
import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from ratemill.cli.main import cli

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
EXPIRY = 12 * 24  # hours of the month after which the first credit of aurora is worth nothing

Event = dict[str, Any]
Hours = dict[int, Fraction]  # hour of the month -> cost
Key = tuple[str, str, str, str, str]  # account, month, "Correction" or "", SKU, adjustment


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"elastic_example_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


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
    found: dict[Key, Fraction] = defaultdict(Fraction)
    for item in items:
        found[item["BillingAccountId"], item["BillingPeriodStart"][:7], item["ChargeClass"] or "", item["SkuId"], item.get("x_Adjustment") or ""] += (
            Fraction(item["BilledCost"])
        )
    return found


def hour_of(event: Event) -> Fraction:
    """Hours since the month began."""
    return Fraction((datetime.fromisoformat(event["time"]) - START) // timedelta(seconds=1), 3_600)


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


def used(events: list[Event], account: str) -> dict[str, Hours]:
    """What the usage of September costs in dollars, by SKU and hour. An average counts in the first hour of its month."""
    internode = hourly(events, account, "data.transfer", direction="internode")
    for hour, quantity in hourly(events, account, "data.transfer", direction="internode", provider="azure").items():
        internode[hour] -= quantity
    snapshots, stored = average(events, account, "snapshot.storage", 0, 720), average(events, account, "serverless.storage", 0, 720)
    vcus = [
        times(hourly(events, account, "serverless.vcu", kind=cell["match"]["dimensions.kind"]), cell["unit_price"])
        for cell in PRICES["vcus-2026"]["cells"]
    ]
    tests = {hour: Fraction(-(-seconds // 60)) for hour, seconds in hourly(events, account, "synthetics.browser").items()}  # one run an hour
    requests = {hour: quantity / 1_000 for hour, quantity in hourly(events, account, "snapshot.requests").items()}
    return {
        "es.capacity": capacity(events, account, range(720)),
        "es.transfer.out": times(hourly(events, account, "data.transfer", direction="out"), "0.032", 10**9),
        "es.transfer.internode": times(internode, "0.016", 10**9),
        "es.snapshot.storage": {0: max(snapshots - 100, ZERO) * Fraction("0.033")},
        "es.snapshot.requests": times(beyond_free(requests, 100), "0.0018"),
        "serverless.compute": {hour: sum((one.get(hour, ZERO) for one in vcus), ZERO) for hour in range(720)},
        "serverless.storage": {0: stored * Fraction("0.047")},
        "synthetics.browser": times(tests, "0.0123"),
    }


def invoice(events: list[Event], account: str, closed: bool) -> dict[Key, Fraction]:
    """September, as it is invoiced: usage, the allowance, support, a fee, credits, rounding. A minimum is due once the month is closed."""

    def key(sku: str, adjustment: str = "") -> Key:
        return account, "2026-09", "", sku, adjustment

    by_hour = {sku: {hour: cost * RATE[account] for hour, cost in costs.items()} for sku, costs in used(events, account).items()}
    due = {key(sku): sum(costs.values(), ZERO) for sku, costs in by_hour.items()}
    # 100 GB free, of the dearer transfer first: in each account it is all of it, used within the first days.
    assert sum(hourly(events, account, "data.transfer", direction="out").values()) > 100 * 10**9
    due[key("es.transfer.out", "transfer-pool")] = -100 * Fraction("0.032") * RATE[account]
    name, share = SUPPORT[account]
    due[key(name, name)] = sum(due.values(), ZERO) * share
    if account == "borealis" and closed:
        assert due[key(name, name)] < 120
        due[key(name, name)] = Fraction(120)
    if account == "cumulus":
        due[key("es.tam", "fees")] = Fraction(300 * 21, 30)
    if account == "aurora":
        early = sum((cost for costs in by_hour.values() for hour, cost in costs.items() if hour < EXPIRY), ZERO)
        early = (early + due[key("es.transfer.out", "transfer-pool")]) * (1 + share)
        first = min(early, Fraction(1_500))
        due[key("", "credits")] = -first - min(sum(due.values(), ZERO) - first, Fraction(1_200))
    total = sum(due.values(), ZERO)
    due[key("rounding", "rounding")] = (total * 100 + Fraction(1, 2)).__floor__() / Fraction(100) - total
    return due


def without_zeros(amounts: dict[Key, Fraction]) -> dict[Key, Fraction]:
    """Amounts other than 0; credits of all SKUs together."""
    found: dict[Key, Fraction] = defaultdict(Fraction)
    for key, amount in amounts.items():
        found[(*key[:3], "", "credits") if key[4] == "credits" else key] += amount
    return {key: amount for key, amount in found.items() if amount}


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(USAGE.month())


@pytest.mark.parametrize("account", ["aurora", "borealis", "cumulus"])
def test_the_month_is_that_of_a_second_computation(
    events: list[Event], month: list[dict[str, Any]], after_close: list[dict[str, Any]], account: str
) -> None:
    for items, closed in ((month, False), (after_close, True)):
        found = {key: amount for key, amount in without_zeros(sums(items)).items() if key[:2] == (account, "2026-09")}
        assert found == without_zeros(invoice(events, account, closed))
    assert {item["BillingCurrency"] for item in month if item["BillingAccountId"] == account} == {"EUR" if account == "cumulus" else "USD"}


def test_the_story_of_the_month(events: list[Event], month: list[dict[str, Any]]) -> None:
    due = without_zeros(sums(month))
    # One credit expires on the 13th with something left; the other one is used up to the last cent.
    paid = defaultdict(Fraction)
    for item in month:
        if item.get("x_Adjustment") == "credits":
            paid[item["ChargeDescription"].split(":")[0]] += Fraction(item["BilledCost"])
    assert paid["ecu-2026"] == -1_200
    assert -1_500 < paid["ecu-2025"] < -1_300
    # The vendor's worked example: 120 GB on average, 20 of them charged.
    assert due["cumulus", "2026-09", "", "es.snapshot.storage", ""] == 20 * Fraction("0.033") * Fraction("0.92")
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
    corrections = {key: amount for key, amount in sums(after_close).items() if key[2]}
    late = sum(Fraction(event["data"]["quantity"]) for event in USAGE.late() if event["subject"] == "aurora")
    (amend,) = [request for request in USAGE.requests() if request["control"] == "amend"]
    too_much = Fraction(amend["original"][5]) - Fraction(amend["replacement"][5])
    assert corrections == {
        ("aurora", "2026-10", "Correction", "es.transfer.out", ""): late / 10**9 * Fraction("0.032"),
        ("borealis", "2026-10", "Correction", "es.transfer.out", ""): -too_much / 10**9 * Fraction("0.032"),
        ("borealis", "2026-10", "Correction", "es.capacity", ""): 30 * (3 - Fraction(1, 4)) * Fraction("0.0438"),
    }


def test_every_total_is_in_whole_cents(after_close: list[dict[str, Any]]) -> None:
    totals: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for (account, billed_in, *_), amount in sums(after_close).items():
        totals[account, billed_in] += amount
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
    expired = 1_500 + sum(Fraction(item["BilledCost"]) for item in after_close if item["ChargeDescription"].startswith("ecu-2025"))
    assert f"the 13th with {round(expired, 2).__float__():.2f} unused" in shown
