"""The real AWS rows of the demo, rated, exported as FOCUS, checked to the last digit, and given to the FOCUS project's own validator.

Run by `make focus-validate`. The validator has an environment of its own (tools/focus.lock). Exit status 0: every row is exact, and the
validator finds what docs/focus.md lists as its own defects, and nothing else; 1: anything else.
"""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
from ratemill.cli.export import tell
from ratemill.demo.derive import derive
from ratemill.demo.reconcile import offline_items
from ratemill.demo.rows import SOURCES, read_rows
from ratemill.invoicing.focus import FORMATS, VERSIONS, check, row_of, write_rows
from ratemill.invoicing.focus import read_rows as rows_of
from ratemill.pricing.book import parse_price_book
from ratemill.pricing.money import use_exact_arithmetic
from ratemill.schemas.errors import RatemillError
from ratemill.schemas.line_item import RatedLineItem

ROOT = Path(__file__).parents[1]
ENVIRONMENT, OUTPUT = ROOT / "build" / "focus", ROOT / "build" / "focus-files"
VALIDATED = "1.2"  # the only one whose rules come with the validator; others it would download
# What Ratemill has, in the validator's words; docs/focus.md says why not more.
CRITERIA = (
    "NEGOTIATED_PRICING_SUPPORTED", "USAGE_MEASUREMENT_SUPPORTED", "UNIT_PRICING_SUPPORTED", "REGION_SUPPORTED",
    "MULTIPLE_PRICING_CATEGORIES_SUPPORTED",
)  # fmt: skip


def exported() -> Path:
    """Write the files of each version and format, check them, and return the one for the validator. Raises RatemillError."""
    use_exact_arithmetic()
    sources = [source for source in SOURCES if source.provider == "aws"]
    book = derive(read_rows(sources), "USD").text
    items, totals = offline_items(sources, parse_price_book(book, "prices.yaml"), 3_600)
    print(f"{totals.counted:,} rows of a real AWS Cost and Usage Report counted, {len(items):,} line items")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    line_items = [msgspec.convert(item, RatedLineItem) for item in items]
    for version in VERSIONS:
        for format in FORMATS:
            path = OUTPUT / f"aws-focus-{version}.{format}"
            write_rows((row_of(item, version) for item in line_items), version, path, format)
            tell(check(rows_of(path, format), version), version, path.relative_to(ROOT), len(line_items))
    return OUTPUT / f"aws-focus-{VALIDATED}.parquet"


def validated(path: Path) -> tuple[Counter[str], set[str]]:
    """(how many of its rules passed, were skipped and failed, ids of those that failed). Its exit status tells nothing."""
    report = path.with_suffix(".xml")
    report.unlink(missing_ok=True)
    (home,) = ENVIRONMENT.glob("lib/python3*/site-packages")  # it looks for its own files in the current folder
    words = ["--data-file", str(path), "--validate-version", VALIDATED, "--block-download", "--applicability-criteria", ",".join(CRITERIA)]
    words += ["--output-type", "unittest", "--output-destination", str(report)]
    done = subprocess.run([ENVIRONMENT / "bin" / "focus-validator", *words], cwd=home, capture_output=True, text=True, timeout=600, check=False)
    if not report.exists():
        raise SystemExit(f"the validator gave no report: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    return outcome(ET.parse(report).getroot())


def outcome(report: ET.Element) -> tuple[Counter[str], set[str]]:
    """`validated`, of its report: an error stands for a rule that was not looked at, because one that it names failed."""
    counts: Counter[str] = Counter(passed=0, skipped=0, failed=0)
    failed = set()
    for case in report.iter("testcase"):
        kind = "skipped" if case.find("skipped") is not None else "failed" if {child.tag for child in case} & {"failure", "error"} else "passed"
        counts[kind] += 1
        if kind == "failed":
            failed.add((case.get("name") or "").split(" ")[0])
    return counts, failed


def expected(text: str) -> set[str]:
    """Ids of the rules that docs/focus.md lists as failing for a reason that is not in our rows."""
    table = text.split("<!-- validator: begin -->")[1].split("<!-- validator: end -->")[0]
    return set(re.findall(r"`([A-Za-z]+-[A-Z]-[0-9]{3}-[A-Z])`", table))


def verdict(failed: Iterable[str], known: set[str]) -> list[str]:
    """What is not as docs/focus.md says; nothing when all is."""
    failed = set(failed)
    lines = [f"fails, and is not in docs/focus.md: {rule}" for rule in sorted(failed - known)]
    return lines + [f"is in docs/focus.md, and does not fail: {rule}" for rule in sorted(known - failed)]


def main() -> int:
    """Export, check, validate, say what came of it."""
    try:
        path = exported()
    except RatemillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    counts, failed = validated(path)
    known = expected((ROOT / "docs" / "focus.md").read_text(encoding="utf-8"))
    print(f"focus-validator 2.2.1 on FOCUS {VALIDATED}: {counts['passed']} passed, {counts['skipped']} skipped, {counts['failed']} failed")
    for rule in sorted(failed & known):
        print(f"  known, see docs/focus.md: {rule}")
    unexpected = verdict(failed, known)
    for line in unexpected:
        print(f"  {line}", file=sys.stderr)
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
