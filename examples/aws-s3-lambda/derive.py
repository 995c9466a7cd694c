"""Make prices.yaml from price lists of AWS: no amount, bound or name in it is typed by hand.

    python examples/aws-s3-lambda/derive.py            write prices.yaml
    python examples/aws-s3-lambda/derive.py --check    exit status 1 if prices.yaml is not what the sources give

Sources, see README.md for where they come from:

    AmazonS3.csv, AWSLambda.csv           AWS price lists (bulk API, CSV), as they are: Ireland
    ../../demo/data/aws_cur_2023-11.csv   a Cost and Usage Report: its rows print the public price of three more regions

A price of the list is one SKU there: its rows are the tiers, `RateCode` names each, `RelatedTo` names the free tier that comes before.
The SKU of a usage event is the `usageType`, which is also what a bill of AWS shows. What cannot be used is named on stderr.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
LISTS = (HERE / "AmazonS3.csv", HERE / "AWSLambda.csv")
REPORT = HERE.parents[1] / "demo" / "data" / "aws_cur_2023-11.csv"
BOOK = HERE / "prices.yaml"

# Product families of AWS -> FOCUS ServiceCategory. One row of the report names no family.
CATEGORIES = {"Storage": "Storage", "API Request": "Storage", "Fee": "Storage", "": "Storage", "Data Transfer": "Networking", "Serverless": "Compute"}


class Tier(NamedTuple):
    """One row of a source: its amounts as the digits that stand there."""

    up_to: str  # "Inf": no bound
    unit_price: str
    rate_code: str
    words: str


class Price(NamedTuple):
    """One price of the book."""

    id: str
    sku: str
    unit: str
    since: str
    service: str
    category: str
    words: str
    tiers: tuple[Tier, ...]


class Unusable(Exception):
    """A row, the rows of a SKU, or a whole source that cannot become a price."""


@contextmanager
def source(path: Path) -> Iterator[None]:
    """Whatever a source lacks is told in one line that names it."""
    try:
        yield
    except OSError as error:
        raise Unusable(f"cannot read {path}: {error.strerror}") from error
    except KeyError as error:
        raise Unusable(f"{path.name}: {error} is not known, or is a column that is not there") from error
    except (Unusable, ValueError, csv.Error) as error:
        raise Unusable(f"{path.name}: {error}") from error


def digits(text: str) -> str:
    """A number of a source without the zeros that say nothing: "0.0230000000" -> "0.023", "4.4E-7" -> "0.00000044"."""
    found = re.fullmatch(r"([0-9]+)(?:\.([0-9]+))?(?:E-([0-9]+))?", text)
    if found is None:
        raise Unusable(f"`{text}` is not a number")
    whole, fraction, shift = found[1], found[2] or "", int(found[3] or 0)
    point = len(whole) - shift
    every = (whole + fraction).rjust(len(whole) + len(fraction) + max(1 - point, 0), "0")
    point = max(point, 1)
    left, right = every[:point].lstrip("0") or "0", every[point:].rstrip("0")
    return f"{left}.{right}" if right else left


def day(text: str) -> str:
    """The first instant of an effective date: 2020-12-01, or 01/03/2018 with the day first (AWS changes prices on the first of a month)."""
    if found := re.fullmatch(r"(\d\d)/(\d\d)/(\d{4})", text):
        return f"{found[3]}-{found[2]}-{found[1]}T00:00:00Z"
    if found := re.match(r"\d{4}-\d\d-\d\d", text):
        return f"{found[0]}T00:00:00Z"
    raise Unusable(f"`{text}` is not a date")


def read_list(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, row) of a price list. Five lines of metadata stand before the header."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    at = next((number for number, row in enumerate(lines) if row[:1] == ["SKU"]), None)
    if at is None:
        raise Unusable("no line begins with SKU, so this is not a price list of AWS")
    return [(at + 2 + number, dict(zip(lines[at], row, strict=True))) for number, row in enumerate(lines[at + 1 :])]


def check_row(row: dict[str, str]) -> None:
    if not re.fullmatch(r"[A-Z0-9]{16}", row["SKU"]):
        raise Unusable(f"`{row['SKU']}` is not an SKU (16 letters and digits)")
    if not row["RateCode"].startswith(f"{row['SKU']}.{row['OfferTermCode']}."):
        raise Unusable(f"rate code {row['RateCode']} is not one of {row['SKU']}")
    if row["Currency"] != "USD" or row["TermType"] != "OnDemand":
        raise Unusable(f"{row['TermType']} in {row['Currency']}: only OnDemand in USD is read")


def tiers_of(rows: Iterable[dict[str, str]], begin: str = "0") -> list[Tier]:
    """The tiers of one SKU, each beginning where the one before ends."""
    tiers = []
    for row in sorted(rows, key=lambda row: int(row["StartingRange"])):
        if row["StartingRange"] != begin:
            raise Unusable(f"SKU {row['SKU']}: a tier begins at {row['StartingRange']}, the one before ends at {begin}")
        tiers.append(Tier(row["EndingRange"], digits(row["PricePerUnit"]), row["RateCode"], row["PriceDescription"]))
        begin = row["EndingRange"]
    return tiers


def list_prices(path: Path, tell: list[str]) -> Iterator[Price]:
    """The prices of one list; `tell` takes a line for everything that is left out."""
    by_sku: dict[str, list[dict[str, str]]] = {}
    for line, row in read_list(path):
        try:
            check_row(row)
            by_sku.setdefault(row["SKU"], []).append(row)
        except Unusable as reason:
            tell.append(f"{path.name}:{line}: {reason}; left out")
    related = {row.get("RelatedTo", "") for rows in by_sku.values() for row in rows}
    for sku, rows in by_sku.items():
        first = rows[0]
        if sku in related:
            continue  # a free tier: it becomes the first tier of the SKUs that name it
        free = tiers_of(by_sku.get(first.get("RelatedTo", ""), []))
        paid = tiers_of(rows)
        if paid[-1].up_to != "Inf" or (free and len(paid) > 1):
            tell.append(f"{path.name}: SKU {sku} has tiers that cannot be joined; left out")
            continue
        kind = first.get("Volume Type") or first["Group"] or first.get("Fee Code")
        words = ", ".join(filter(None, (first["Product Family"], kind, first["Location"])))
        category = CATEGORIES[first["Product Family"]]
        since = day(first["EffectiveDate"])
        yield Price(sku, first["usageType"], first["Unit"], since, first["serviceName"], category, f"{words}; SKU {sku}", tuple(free + paid))


def report_prices(path: Path, tell: list[str]) -> Iterator[Price]:
    """Public on-demand prices that rows of S3 print. A report shows only the tiers that were reached: here always the first one."""
    found: dict[str, Price] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["lineItem/ProductCode"] != "AmazonS3" or row["lineItem/LineItemType"] != "Usage":
                continue
            rate, usage_type, code = digits(row["pricing/publicOnDemandRate"]), row["lineItem/UsageType"], row["pricing/RateCode"]
            if rate == "0":
                continue
            family, place = row["product/productFamily"], row["product/location"] or f"{row['product/fromLocation']} to {row['product/toLocation']}"
            kind = row["product/volumeType"] or row["product/group"] or row["product/transferType"] or row["product/feeCode"]
            words = ", ".join(filter(None, (family, kind, place, "first tier" if "first" in row["lineItem/LineItemDescription"] else "")))
            sku, since = code.split(".")[0], day(row["bill/BillingPeriodStartDate"])
            price = Price(
                sku, usage_type, row["pricing/unit"], since, "Amazon Simple Storage Service", CATEGORIES[family],
                f"{words}; SKU {sku}", (Tier("Inf", rate, code, row["lineItem/LineItemDescription"]),),
            )  # fmt: skip
            before = found.setdefault(usage_type, price)
            if (before.tiers[0].unit_price, before.unit) != (rate, price.unit):
                tell.append(f"{path.name}: {usage_type} has the prices {before.tiers[0].unit_price} and {rate}; the first is kept")
    yield from found.values()


def as_yaml(price: Price) -> str:
    """One price of the book, as a block of YAML."""
    fields = {"id": price.id, "sku": price.sku, "unit": price.unit}
    amounts: list[str]
    if len(price.tiers) == 1:
        (tier,) = price.tiers
        fields |= {"model": "unit", "unit_price": tier.unit_price, "sku_price_id": tier.rate_code}
        amounts = [f"    # {tier.words}"]
    else:
        fields |= {"model": "graduated"}
        amounts = ["    tiers:"]
        for tier in price.tiers:
            bound = "" if tier.up_to == "Inf" else f'up_to: "{tier.up_to}", '
            amounts.append(f'      - {{{bound}unit_price: "{tier.unit_price}", sku_price_id: {json.dumps(tier.rate_code)}}}  # {tier.words}')
    fields |= {"effective_from": price.since, "service_name": price.service, "service_category": price.category, "description": price.words}
    lines = [f"    {key}: {value if key in ('model', 'effective_from') else json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["  -" + lines[0][3:], *lines[1:], *amounts])


def book(tell: list[str]) -> str:
    """The text of prices.yaml."""
    prices: list[Price] = []
    for path in LISTS:
        with source(path):
            prices += list_prices(path, tell)
    with source(REPORT):
        prices += report_prices(REPORT, tell)
    head = (
        "# Made by derive.py from price lists of AWS; see README.md. Do not edit.\n"
        "# The lists are of 2018 (S3), 2020 (Lambda) and 2023 (the other regions): real prices, not today's.\n"
        "currency: USD\n"
        "provider_name: Amazon Web Services\n"
        "prices:\n"
    )
    return head + "\n".join(as_yaml(price) for price in sorted(prices, key=lambda price: (price.service, price.sku))) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if prices.yaml is not what the sources give")
    options, tell = parser.parse_args(), list[str]()
    try:
        text = book(tell)
    except Unusable as reason:
        print(f"derive.py: {reason}", file=sys.stderr)
        return 1
    for line in tell:
        print(line, file=sys.stderr)
    if options.check:
        same = BOOK.exists() and BOOK.read_text(encoding="utf-8") == text
        print("prices.yaml is what the sources give" if same else "prices.yaml differs from what the sources give; run derive.py")
        return 0 if same else 1
    try:
        BOOK.write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"derive.py: cannot write {BOOK}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"wrote {text.count('  - id: ')} prices to {BOOK.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
