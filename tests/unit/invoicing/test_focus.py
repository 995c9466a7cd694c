"""FOCUS files: what each version has, that no digit is lost on the way, and that an altered row is caught."""

from __future__ import annotations

import csv
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from decimal import localcontext
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from loading import load
from ratemill.cli.export import tell
from ratemill.demo.derive import derive
from ratemill.demo.reconcile import offline_items
from ratemill.demo.rows import SOURCES, read_rows
from ratemill.invoicing.focus import FORMATS, VERSIONS, check, columns_of, row_of, write_rows
from ratemill.invoicing.focus import read_rows as rows_of
from ratemill.invoicing.focus.columns import DECIMALS, MANDATORY
from ratemill.invoicing.focus.projection import Row
from ratemill.pricing.book import parse_price_book
from ratemill.pricing.money import EXACT, ZERO, money
from ratemill.schemas.errors import BadInput, RatemillError
from ratemill.schemas.line_item import RatedLineItem

ROOT = Path(__file__).parents[3]
AWS = [source for source in SOURCES if source.provider == "aws"]


@pytest.fixture(autouse=True)
def exactly() -> Iterator[None]:
    with localcontext(EXACT):
        yield


@pytest.fixture(scope="module")
def items() -> list[RatedLineItem]:
    """The line items of a real AWS Cost and Usage Report."""
    with localcontext(EXACT):
        found, _ = offline_items(AWS, parse_price_book(derive(read_rows(AWS), "USD").text, "prices.yaml"), 3_600)
        return [msgspec.convert(item, RatedLineItem) for item in found]


def other(item: RatedLineItem, **changes: object) -> RatedLineItem:
    return msgspec.structs.replace(item, **changes)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("format", FORMATS)
def test_real_rows_come_back_as_they_were_and_every_one_is_exact(items: list[RatedLineItem], tmp_path: Path, version: str, format: str) -> None:
    rows = [row_of(item, version) for item in items]
    assert write_rows(rows, version, tmp_path / "file", format) == len(rows)
    assert list(rows_of(tmp_path / "file", format)) == rows
    found = check(rows_of(tmp_path / "file", format), version)
    assert (found.rows, found.breaches) == (1_269, {})
    assert found.billed == {"USD": sum((money(item.billed_cost) for item in items), ZERO)}
    write_rows(rows, version, tmp_path / "again", format)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "file").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "file"]


def test_versions_name_providers_as_they_must(items: list[RatedLineItem]) -> None:
    names = {"ProviderName", "PublisherName", "ServiceProviderName", "HostProviderName"}
    assert {version: names & set(columns_of(version)) for version in VERSIONS} == {
        "1.2": {"ProviderName", "PublisherName"}, "1.3": names, "1.4": {"ServiceProviderName", "HostProviderName"},
    }  # fmt: skip
    newest = row_of(items[0], "1.4")
    assert (newest["ServiceProviderName"], newest["HostProviderName"]) == ("Ratemill demo", "Amazon Web Services")
    for version in VERSIONS:
        assert list(row_of(items[0], version)) == list(columns_of(version))
        with (Path(__file__).parent / "focus_mandatory.csv").open() as file:
            mandatory = {row["column"]: row["nulls"] for row in csv.DictReader(file) if row[version] == "yes"}
        assert mandatory.keys() <= set(columns_of(version))
        assert {name for name, nulls in mandatory.items() if nulls == "no"} <= MANDATORY


def test_what_focus_wants_said_differently(items: list[RatedLineItem]) -> None:
    fee = other(items[0], charge_category="Purchase", sku_price_id=None, x_adjustment="support", x_component="fee", sku_meter=None)
    row = row_of(fee, "1.2")
    assert (row["SkuPriceId"], row["SkuMeter"], row["ConsumedQuantity"], row["ConsumedUnit"]) == ("support/fee", fee.sku_id, None, None)
    unpriced = row_of(other(items[0], sku_price_id=None, list_unit_price=None, contracted_unit_price=None, x_unpriced=True), "1.2")
    assert unpriced["SkuPriceId"] is None
    assert list(check([unpriced], "1.2").breaches) == ["usage and purchases have a price"]


def altered(column: str, value: str | None) -> Callable[[Row], Row]:
    return lambda row: {**row, column: value}


LAST_DIGIT = "0.00000000000000000001"
ALTERATIONS = [
    (altered("ListCost", LAST_DIGIT), "ListCost = ListUnitPrice x PricingQuantity"),
    (altered("ContractedCost", LAST_DIGIT), "ContractedCost = ContractedUnitPrice x PricingQuantity"),
    (altered("BilledCost", LAST_DIGIT), "BilledCost = ContractedCost"),
    (altered("EffectiveCost", LAST_DIGIT), "EffectiveCost = BilledCost"),
    (altered("PricingQuantity", "17"), "ListCost = ListUnitPrice x PricingQuantity"),
    (altered("ListUnitPrice", "-0.1"), "ListUnitPrice is not negative"),
    (altered("BilledCost", "1E-2"), "a plain decimal"),
    (altered("BilledCost", "NaN"), "a plain decimal"),
    (altered("ConsumedQuantity", "1-2"), "a plain decimal"),
    (altered("BilledCost", None), "not null"),
    (altered("ServiceName", None), "not null"),
    (altered("SkuPriceId", None), "usage and purchases have a price"),
    (altered("ChargeCategory", "usage"), "ChargeCategory is one of FOCUS"),
    (altered("ChargeCategory", "Credit"), "only usage is consumed"),
    (altered("ChargeClass", "correction"), "ChargeClass is null or Correction"),
    (altered("ConsumedUnit", None), "ConsumedQuantity has a unit"),
    (altered("BillingCurrency", "usd"), "BillingCurrency is a code of ISO 4217"),
    (altered("ChargePeriodEnd", "2023-11-01T00:00:00.5Z"), "a time as YYYY-MM-DDTHH:MM:SSZ"),
    (altered("ChargePeriodEnd", "2023-11-01T00:00:00+00:00"), "a time as YYYY-MM-DDTHH:MM:SSZ"),
    (altered("ChargePeriodEnd", "2023-01-01T00:00:00Z"), "ChargePeriodStart is before ChargePeriodEnd"),
    (altered("BillingPeriodEnd", "2023-01-01T00:00:00Z"), "BillingPeriodStart is before BillingPeriodEnd"),
    (altered("ChargePeriodEnd", "2024-01-01T00:00:00Z"), "the charge lies in its billing period"),
    (altered("ChargeClass", "Correction"), "a correction is of an earlier period"),
    (altered("x_New", "1"), "columns"),
]


@pytest.mark.parametrize(("alter", "rule"), ALTERATIONS)
def test_an_altered_row_is_caught(items: list[RatedLineItem], alter: Callable[[Row], Row], rule: str) -> None:
    priced = next(item for item in items if item.billed_cost != "0" and item.pricing_quantity != "17")
    row = row_of(priced, "1.2")
    assert not check([row], "1.2").breaches
    found = check([row, alter({**row, "x_LineItemId": "altered"})], "1.2")
    assert found.breaches[rule] == 1
    assert "row 2 (altered)" in found.examples[0]


def test_a_row_that_is_there_twice_is_caught(items: list[RatedLineItem]) -> None:
    row = row_of(items[0], "1.2")
    assert check([row, row], "1.2").breaches == {"x_LineItemId is there once": 1}


def test_a_row_that_is_missing_is_told(items: list[RatedLineItem]) -> None:
    rows = [row_of(item, "1.2") for item in items[:3]]
    tell(check(rows, "1.2"), "1.2", Path("file"), 3)
    with pytest.raises(RatemillError, match="it has 2 rows, and 3 were written"):
        tell(check(rows[:2], "1.2"), "1.2", Path("file"), 3)


def test_an_altered_amount_in_a_file_is_caught(items: list[RatedLineItem], tmp_path: Path) -> None:
    write_rows((row_of(item, "1.2") for item in items), "1.2", tmp_path / "file", "csv")
    text = (tmp_path / "file").read_text()
    wrong = text.replace(f"\n{items[700].billed_cost},", f"\n{items[700].billed_cost}1,", 1)
    assert wrong != text
    (tmp_path / "file").write_text(wrong)
    assert sum(check(rows_of(tmp_path / "file", "csv"), "1.2").breaches.values()) >= 1


@pytest.mark.parametrize(
    ("amount", "scale", "words"),
    [("0." + "1" * 21, 20, "say --scale 21"), ("1" + "0" * 18, 20, "does not fit beside 20 digits"), ("0." + "1" * 38, 38, ""), ("9" * 38, 0, "")],
)
def test_an_amount_fits_exactly_or_is_refused(items: list[RatedLineItem], tmp_path: Path, amount: str, scale: int, words: str) -> None:
    base = dict.fromkeys(DECIMALS, "0")
    row = {**row_of(items[0], "1.2"), **base, "PricingQuantity": amount}
    if words:
        with pytest.raises(BadInput, match=rf"PricingQuantity {amount} of line item {items[0].x_line_item_id} .*{words}"):
            write_rows([row], "1.2", tmp_path / "file", "parquet", scale)
        assert list(tmp_path.iterdir()) == []
    else:
        write_rows([row], "1.2", tmp_path / "file", "parquet", scale)
        assert list(rows_of(tmp_path / "file", "parquet")) == [row]


def test_parquet_without_pyarrow_says_what_to_install(items: list[RatedLineItem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInput, match=r"install ratemill\[parquet\]"):
        write_rows([row_of(items[0], "1.2")], "1.2", tmp_path / "file", "parquet")
    write_rows([row_of(items[0], "1.2")], "1.2", tmp_path / "file", "csv")


# -- what is made of the validator's report ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load(ROOT / "tools" / "focus.py", "focus_tool")


REPORT = """<testsuites><testsuite><testcase name="A-C-001-M :: Type"/><testcase name="B-C-002-M :: None"><skipped/></testcase>
<testcase name="C-C-003-M :: Format"><failure message="x"/></testcase><testcase name="D-C-004-C :: None"><error message="Upstream"/></testcase>
</testsuite></testsuites>"""


def test_what_fails_and_is_not_documented_is_told_and_the_other_way_round(tool: ModuleType) -> None:
    counts, failed = tool.outcome(ET.fromstring(REPORT))
    assert (counts, failed) == ({"passed": 1, "skipped": 1, "failed": 2}, {"C-C-003-M", "D-C-004-C"})
    assert tool.verdict(failed, failed) == []
    assert tool.verdict(failed, {"C-C-003-M", "E-C-001-M"}) == [
        "fails, and is not in docs/focus.md: D-C-004-C", "is in docs/focus.md, and does not fail: E-C-001-M",
    ]  # fmt: skip


def test_the_documentation_lists_known_defects_with_a_reason(tool: ModuleType) -> None:
    text = (ROOT / "docs" / "focus.md").read_text(encoding="utf-8")
    known = tool.expected(text)
    assert len(known) == 6
    said = re.search(r"([0-9]+) passed, ([0-9]+) skipped, ([0-9]+) failed", text)
    assert said is not None
    assert int(said[3]) == len(known)
    for row in text.split("<!-- validator: begin -->")[1].split("<!-- validator: end -->")[0].strip().splitlines()[2:]:
        assert len(row.split("|")[2].strip()) > 20


@pytest.mark.parametrize(
    ("unit", "focus"),
    [
        ("GB-Mo", "GB-Months"), ("Obj-Month", "Obj-Months"), ("IOPS-mo", "IOPS-Months"), ("vCPU-Hours", "vCPU-Hours"), ("LCU-Hrs", "LCU-Hours"),
        ("Hrs", "Hours"), ("Lambda-GB-Second", "Lambda-GB-Seconds"), ("core-h", "core-Hours"), ("Model-S", "Model-S"), ("h", "h"), ("-h", "-h"),
        ("Requests", "Requests"), ("GB", "GB"), ("1M tokens", "1M tokens"), ("Month", "Month"), ("GB/Hour", "GB/Hour"),
    ],
)  # fmt: skip
def test_units_have_their_times_spelled_out(items: list[RatedLineItem], unit: str, focus: str) -> None:
    row = row_of(other(items[0], charge_category="Usage", pricing_unit=unit, consumed_unit=unit), "1.2")
    assert (row["PricingUnit"], row["ConsumedUnit"]) == (focus, focus)
