"""`ratemill rate` as a user meets it: one answer whatever the order, and one clear line for everything that is wrong."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ratemill.cli import offline
from ratemill.cli.rate import command
from ratemill.schemas.control import Close, encode_control
from ratemill.schemas.errors import RatemillError

BOOK = """
currency: USD
prices:
  - {id: a, sku: s, unit: u, model: graduated, tiers: [{up_to: "10", unit_price: "3"}, {unit_price: "2"}]}
"""


def event(id: str = "1", account: str = "acct", hour: int = 0, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": id, "source": "src", "type": "t", "subject": account, "time": f"2026-03-01T{hour:02d}:00:00Z",
        "data": {"sku": "s", "quantity": "1", "unit": "u", **data},
    }  # fmt: skip


def lines(events: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(e).encode() + b"\n" for e in events)


class Rate:
    """Runs the command in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "out.ndjson"
        (folder / "book.yaml").write_text(BOOK)

    def __call__(self, events: bytes, *more: str, name: str = "events.ndjson", output: str = "out.ndjson") -> Result:
        (self.folder / name).write_bytes(events)
        arguments = ["--prices", str(self.folder / "book.yaml"), "--events", str(self.folder / name), "--output", str(self.folder / output), *more]
        return CliRunner().invoke(command, arguments)

    def items(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]


@pytest.fixture
def rate(tmp_path: Path) -> Rate:
    return Rate(tmp_path)


def test_the_same_set_of_events_gives_the_same_bytes(rate: Rate, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event(str(n), f"acct-{n % 7}", n % 24, quantity=f"{n}.5") for n in range(300)]
    assert rate(lines(events)).exit_code == 0
    expected = rate.output.read_bytes()
    keys = [(i["BillingAccountId"], i["ChargePeriodStart"], i["SkuId"], i["x_LineItemId"]) for i in rate.items()]
    assert keys == sorted(keys)
    assert {i["x_Revision"] for i in rate.items()} == {1}
    # Small chunks, commits and sorted runs: nothing of how the file is worked through may show.
    for name, value in (("_CHUNK", 7), ("_COMMIT", 20), ("_SORTED_AT_ONCE", 5)):
        monkeypatch.setattr(offline, name, value)
    random.Random(1).shuffle(events)
    assert rate(lines([*events, *events[:50]])).exit_code == 0
    assert rate.output.read_bytes() == expected
    rate(gzip.compress(json.dumps(events).encode()), name="events.json.gz")
    assert rate.output.read_bytes() == expected


@pytest.mark.parametrize("chunk", [1, 2, 20_000])
def test_of_a_conflict_the_first_in_the_file_counts(rate: Rate, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(offline, "_CHUNK", chunk)
    monkeypatch.setattr(offline, "_COMMIT", chunk)
    result = rate(lines([event("1", quantity="4"), event("2"), event("1", quantity="5"), event("1", quantity="4.0")]))
    assert result.exit_code == 0
    assert "events.ndjson:3: conflict: " in result.stderr
    assert "received 4 = counted 2 + duplicates 1 + rejected 1" in result.stderr
    assert [i["PricingQuantity"] for i in rate.items()] == ["5"]


GOOD = json.dumps(event("good")).encode() + b"\n"
BAD: dict[str, tuple[bytes, str, str]] = {
    "truncated record": (json.dumps(event())[:90].encode() + b"\n", "not_decodable", "not JSON at byte"),
    "10 MB record": (json.dumps(event(resource="x" * 10_000_000)).encode() + b"\n", "too_large", "at most 1048576 are read"),
    "invalid UTF-8": (json.dumps(event("caf")).encode().replace(b"caf", b"caf\xe9") + b"\n", "not_decodable", "not UTF-8 at byte"),
    "NaN": (json.dumps(event(quantity=float("nan"))).encode() + b"\n", "bad_quantity", "NaN"),
    "NaN as text": (json.dumps(event(quantity="NaN")).encode() + b"\n", "bad_quantity", "NaN"),
    "1e400": (json.dumps(event(quantity="@")).replace('"@"', "1e400").encode() + b"\n", "bad_quantity", "cannot be kept exactly"),
    "missing account": (json.dumps({k: v for k, v in event().items() if k != "subject"}).encode() + b"\n", "missing_field", "account"),
    "a date in 1970": (json.dumps({**event(), "time": "1970-01-01T00:00:00Z"}).encode() + b"\n", "bad_time", "1970"),
    "a date in 2100": (json.dumps({**event(), "time": "2100-01-01T00:00:00Z"}).encode() + b"\n", "bad_time", "2100"),
    "same id with another quantity": (GOOD + json.dumps(event("good", quantity="9")).encode() + b"\n", "conflict", "stands before"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_event_gets_its_line_and_the_rest_is_rated(rate: Rate, case: str) -> None:
    content, reason, detail = BAD[case]
    letters = rate.folder / "dead.ndjson"
    result = rate(GOOD + content + json.dumps(event("last")).encode(), "--dead-letters", str(letters))
    assert result.exit_code == 0
    (told,) = [line for line in result.stderr.splitlines() if line.startswith(str(rate.folder))]
    assert f": {reason}: " in told
    assert detail in told
    assert len(told) < 600
    assert [i["PricingQuantity"] for i in rate.items()] == ["2"]
    (letter,) = [json.loads(line) for line in letters.read_text().splitlines()]
    assert (letter["reason"], letter["line"]) == (reason, GOOD.count(b"\n") + content.count(b"\n"))
    raw = base64.b64decode(letter["raw_base64"])
    assert raw == content.splitlines()[-1]
    assert rate(GOOD + content, "--strict").exit_code == 2


def test_negative_zero_is_zero(rate: Rate) -> None:
    content = lines([event("1", quantity="@"), event("2", quantity="-0")]).replace(b'"@"', b"-0")
    assert "counted 2" in rate(content).stderr
    assert [(i["PricingQuantity"], i["BilledCost"]) for i in rate.items()] == [("0", "0")]


def test_only_the_first_rejections_are_printed(rate: Rate) -> None:
    result = rate(b"{}\n" * 30 + GOOD)
    assert result.exit_code == 0
    assert result.stderr.count("missing_field") == 20
    assert "and 10 more rejected" in result.stderr


def test_an_event_cannot_write_to_the_terminal(rate: Rate) -> None:
    result = rate(lines([event("1", account="\x1b[31m")]))
    assert "\x1b" not in result.stderr
    assert "bad_field" in result.stderr


def test_every_mistake_of_a_broken_price_book_is_named(rate: Rate) -> None:
    (rate.folder / "book.yaml").write_text(
        'currency: usd\nprices:\n  - {id: a, sku: s, unit: u, model: unit, unit_price: "x"}\n  - {id: a, sku: t, unit: u, model: tiered}\n'
    )
    result = rate(GOOD)
    assert isinstance(result.exception, RatemillError)
    assert result.exception.exit_status == 2
    mistakes = str(result.exception).splitlines()
    assert [line.split(": ")[0].rpartition(":")[2] for line in mistakes] == ["1", "3", "4", "4"]
    assert not rate.output.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "7"], "divide an hour"),
        (["--events", "-", "--events", "-"], "once only"),
        (["--events", "missing.ndjson"], "no such file"),
        (["--prices", "missing.yaml"], "no such file"),
        (["--output", "no/such/folder/out"], "no such file"),
    ],
)
def test_unusable_arguments_are_one_line(rate: Rate, arguments: list[str], message: str) -> None:
    result = rate(GOOD, *arguments)
    assert isinstance(result.exception, (RatemillError, SystemExit))
    assert message in (result.stderr + str(result.exception))


def test_an_input_is_never_overwritten(rate: Rate) -> None:
    result = rate(GOOD, name="same", output="same")
    assert "is an input too" in str(result.exception)
    assert (rate.folder / "same").read_bytes() == GOOD


def test_csv_holds_what_json_holds(rate: Rate) -> None:
    events = lines([event("1", quantity="12"), event("2", sku="other", region="eu, west")])
    rate(events)
    rate(events, output="out.csv")
    with (rate.folder / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for row, item in zip(rows, rate.items(), strict=True):
        for name, value in item.items():
            assert row[name] == ("" if value is None else str(value).lower() if isinstance(value, bool) else str(value))


def test_usage_without_a_price_is_told(rate: Rate) -> None:
    result = rate(lines([event("1", unit="other")]))
    assert "1 of them unpriced" in result.stderr
    assert rate.items()[0]["x_Unpriced"] is True


TWO_CURRENCIES = """
currency: USD
prices: [{id: a, sku: s, unit: u, model: unit, unit_price: "2"}]
exchange_rates: [{currency: EUR, rate: "0.5"}]
accounts: [{account: bonn, currency: EUR}]
"""


def test_currencies_have_totals_of_their_own(rate: Rate) -> None:
    (rate.folder / "book.yaml").write_text(TWO_CURRENCIES)
    result = rate(lines([event("1", quantity="3"), event("2", "bonn", quantity="7")]))
    assert "total cost: 7 EUR, 6 USD" in result.stderr
    assert "13" not in result.stderr  # what it is if euros are taken for dollars
    totals = [line.split() for line in result.stderr.splitlines() if line.split()[:2] in (["total", "EUR"], ["total", "USD"])]
    assert totals == [["total", "EUR", "7.000000", "1"], ["total", "USD", "6.000000", "1"]]
    assert [(i["BillingCurrency"], i["BilledCost"]) for i in rate.items()] == [("USD", "6"), ("EUR", "7")]


def test_the_total_says_whether_it_is_an_estimate_or_final(rate: Rate) -> None:
    """A minimum that is due at the end of the month is not in the total before the close."""
    (rate.folder / "book.yaml").write_text(MINIMUM)
    events = lines([event("1", quantity="3"), event("2") | {"time": "2026-04-02T00:00:00Z"}])
    assert "total cost: 8 USD, an estimate: 2026-03, 2026-04 are open\n" in rate(events).stderr
    for period, expected in (("2026-03", "102 USD, an estimate: 2026-04 is open"), ("2026-04", "200 USD, final")):
        control = rate.folder / f"{period}.ndjson"
        control.write_bytes(encode_control(Close(id="c" * 32, author="a", reason="r", at_ns=0, period=period)) + b"\n")
        assert f"total cost: {expected}\n" in rate(events, "--control", str(control)).stderr
    assert "total cost: 0 USD\n" in rate(b"").stderr  # of nothing


MINIMUM = """
currency: USD
prices: [{id: a, sku: s, unit: u, model: unit, unit_price: "2"}]
adjustments: [{id: least, type: minimum_spend, amount: "100"}]
"""


def test_one_currency_is_named_once(rate: Rate) -> None:
    result = rate(lines([event("1", quantity="3")]))
    assert "total cost: 9 USD" in result.stderr
    assert "currency" not in result.stderr
