"""The example of AWS prices: the book is what the price lists give, and its amounts are what a second computation gives.

The second computation reads the same sources with code of its own, in fractions, and shares nothing with the rating engine or derive.py.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner
from loading import load
from ratemill.cli.main import cli

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "aws-s3-lambda"
Tiers = list[tuple[Fraction | None, Fraction]]  # (upper bound, price)


def module(name: str) -> ModuleType:
    return load(EXAMPLE / f"{name}.py", f"aws_example_{name}")


@pytest.fixture(scope="module")
def events() -> list[str]:
    return list(module("usage").events())


@pytest.fixture(scope="module")
def rated(events: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, str]]]:
    """(what the command says, its line items)"""
    folder = tmp_path_factory.mktemp("aws")
    (folder / "events.ndjson.gz").write_bytes(gzip.compress("\n".join(events).encode(), 1))
    arguments = ["--prices", str(EXAMPLE / "prices.yaml"), "--events", str(folder / "events.ndjson.gz"), "--output", str(folder / "items.ndjson")]
    result = CliRunner().invoke(cli, ["rate", *arguments], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return result.output, [json.loads(line) for line in (folder / "items.ndjson").read_text(encoding="utf-8").splitlines()]


def listed(name: str) -> list[dict[str, str]]:
    """Rows of a price list, those that the maker of the slice broke on purpose left out."""
    with (EXAMPLE / name).open(encoding="utf-8", newline="") as file:
        while not (header := next(csv.reader(file))) or header[0] != "SKU":
            pass
        return [row for row in csv.DictReader(file, header) if not row["SKU"].startswith("INVALID")]


def tiers_from_sources() -> dict[str, Tiers]:
    """Tiers by usage type."""
    rows = listed("AmazonS3.csv") + listed("AWSLambda.csv")
    tiers: dict[str, Tiers] = {}
    for row in rows:
        bound = None if row["EndingRange"] == "Inf" else Fraction(row["EndingRange"])
        tiers.setdefault(row["usageType"], []).append((bound, Fraction(row["PricePerUnit"])))
    by_sku = {row["SKU"]: row["usageType"] for row in rows}
    for row in rows:
        if row.get("RelatedTo"):
            tiers[row["usageType"]] = tiers[by_sku[row["RelatedTo"]]] + tiers[row["usageType"]]
    with (ROOT / "demo" / "data" / "aws_cur_2023-11.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["lineItem/ProductCode"] == "AmazonS3" and row["pricing/publicOnDemandRate"]:
                tiers[row["lineItem/UsageType"]] = [(None, Fraction(row["pricing/publicOnDemandRate"]))]
    return {sku: sorted(found, key=lambda tier: (tier[0] is None, tier[0] or 0)) for sku, found in tiers.items()}


def cost(tiers: Tiers, quantity: Fraction) -> Fraction:
    due, lower = Fraction(0), Fraction(0)
    for upper, price in tiers:
        until = quantity if upper is None else min(quantity, upper)
        due += max(until - lower, Fraction(0)) * price
        lower = upper if upper is not None else lower
    return due


def quantities(events: list[str]) -> dict[tuple[str, str], Fraction]:
    unique = {(event["subject"], event["source"], event["id"]): event for event in map(json.loads, events)}
    sums: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for (account, _, _), event in unique.items():
        sums[account, event["data"]["sku"]] += Fraction(event["data"]["quantity"])
    return sums


def billed(items: list[dict[str, str]]) -> dict[tuple[str, str], Fraction]:
    sums: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for item in items:
        sums[item["BillingAccountId"], item["SkuId"]] += Fraction(item["BilledCost"])
    return sums


def test_the_book_is_what_the_sources_give() -> None:
    told: list[str] = []
    assert module("derive").book(told) == (EXAMPLE / "prices.yaml").read_text(encoding="utf-8")
    # The two rows that the maker of the slice broke on purpose, and nothing else.
    assert [line.split(":")[:2] for line in told] == [["AmazonS3.csv", "56"], ["AmazonS3.csv", "57"]]


def test_the_book_is_valid() -> None:
    result = CliRunner().invoke(cli, ["prices", "check", str(EXAMPLE / "prices.yaml")])
    assert result.exit_code == 0, result.output
    title = result.output.splitlines()[0].strip()
    assert title.startswith("110 prices in USD, digest ")
    assert title in (EXAMPLE / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "short"),
    [("0.0230000000", "0.023"), ("4.4E-7", "0.00000044"), ("5.0E-6", "0.000005"), ("12.5E-1", "1.25"), ("0.0", "0"), ("10", "10"), ("120E-1", "12")],
)
def test_numbers_lose_zeros_only(text: str, short: str) -> None:
    assert module("derive").digits(text) == short
    assert Fraction(short) == Fraction(text)


def test_a_gap_between_tiers_is_refused() -> None:
    derive = module("derive")
    rows = [row for row in listed("AmazonS3.csv") if row["usageType"] == "EU-TimedStorage-ByteHrs"]
    assert [tier.up_to for tier in derive.tiers_of(rows)] == ["51200", "512000", "Inf"]
    with pytest.raises(derive.Unusable, match="begins at 512000, the one before ends at 51200"):
        derive.tiers_of([row for row in rows if row["StartingRange"] != "51200"])


def test_the_generator_gives_a_month_of_three_accounts(events: list[str]) -> None:
    assert (len(events), len(set(events))) == (14_420, 14_400)
    assert events == list(module("usage").events())
    assert {json.loads(event)["subject"] for event in events} == {"video-portal", "photo-archive", "sensor-cloud"}


def test_every_amount_is_that_of_a_second_computation(events: list[str], rated: tuple[str, list[dict[str, str]]]) -> None:
    tiers = tiers_from_sources()
    expected = {(account, sku): cost(tiers[sku], quantity) for (account, sku), quantity in quantities(events).items()}
    assert billed(rated[1]) == expected
    # Tiers matter here: at the first price alone all of these would be another amount.
    flat = {key: quantity * tiers[key[1]][0][1] for key, quantity in quantities(events).items()}
    assert {key for key in expected if expected[key] != flat[key]} == {
        ("video-portal", "EU-TimedStorage-ByteHrs"),
        ("photo-archive", "EU-TimedStorage-RRS-ByteHrs"),
        ("sensor-cloud", "APS3-Request"),
        ("sensor-cloud", "APS3-Lambda-GB-Second"),
    }


def test_some_amounts_worked_by_hand(events: list[str], rated: tuple[str, list[dict[str, str]]]) -> None:
    used, due = quantities(events), billed(rated[1])
    # Standard storage in Ireland: $0.023 for the first 50 TB, $0.022 for the next 450 TB, $0.021 beyond.
    storage = used["video-portal", "EU-TimedStorage-ByteHrs"]
    by_hand = 51_200 * Fraction("0.023") + (512_000 - 51_200) * Fraction("0.022") + (storage - 512_000) * Fraction("0.021")
    assert due["video-portal", "EU-TimedStorage-ByteHrs"] == by_hand
    # Lambda: the first million requests and 400,000 GB-seconds of a month are free.
    assert due["sensor-cloud", "APS3-Request"] == (used["sensor-cloud", "APS3-Request"] - 1_000_000) * Fraction("0.0000002")
    seconds = used["sensor-cloud", "APS3-Lambda-GB-Second"]
    assert due["sensor-cloud", "APS3-Lambda-GB-Second"] == (seconds - 400_000) * Fraction("0.0000166667")
    # Usage within the free tier is a line item too, at 0.
    assert any(item["BilledCost"] == "0" for item in rated[1] if item["SkuId"] == "APS3-Request")


def test_every_line_item_names_the_row_of_the_list(rated: tuple[str, list[dict[str, str]]]) -> None:
    codes = {row["RateCode"]: row["usageType"] for name in ("AmazonS3.csv", "AWSLambda.csv") for row in listed(name)}
    codes["ZQVCC2M69R4S79XS.A429C66SYZ.SB2VSFF4TP"] = "APS3-Request"  # free tiers: rows of their own in the list
    codes["4VCGJ7EG8PJVZG7S.A429C66SYZ.KJYPJPDD2A"] = "APS3-Lambda-GB-Second"
    ireland = [item for item in rated[1] if item["RegionId"] == "eu-west-1"]
    assert len(ireland) > 7_000
    assert [item["SkuPriceId"] for item in ireland if codes.get(item["SkuPriceId"]) != item["SkuId"]] == []
    others = [item for item in rated[1] if item["RegionId"] != "eu-west-1"]
    assert all(item["SkuPriceId"] and item["SkuPriceId"].split(".")[0] in item["ChargeDescription"] for item in others)


def test_the_readme_shows_what_the_command_says(rated: tuple[str, list[dict[str, str]]]) -> None:
    shown = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    said = [line.strip() for line in rated[0].splitlines() if re.match(r"\s*(received|total cost|[0-9,]+ line items|(video|photo|sensor)-)", line)]
    assert len(said) > 15
    assert [line for line in said if " ".join(line.split()) not in " ".join(shown.split())] == []
