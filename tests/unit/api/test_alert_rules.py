"""What a rule may say, and when it fires: to the last digit, once, and of nobody else's costs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from ratemill.api.alerting.evaluation import Fired, Question, evaluate, periods_of, questions
from ratemill.api.alerting.rules import Definition, Rule, amount_of, check_definition, check_url
from ratemill.schemas.errors import BadInput
from ratemill.sinks.costs import CostRow
from ratemill.sinks.periods import ClosedPeriods

MONTH = "2026-11"
NOW = 1_795_000_000  # 2026-11-18


def cost(*thresholds: str, **more: str) -> Definition:
    return check_definition(Definition("cost", thresholds, **{"currency": "USD", **more}))


def rule(definition: Definition, id: str = "r1", account: str = "acme") -> Rule:
    return Rule(id, account, "n", definition, 1, "https://example.com", 0, 0)


def row(billed: str = "0", currency: str = "USD", consumed: str | None = None, **group: str | None) -> CostRow:
    return CostRow(dict(group), currency, billed, billed, 1, 0, None, consumed)


def fires(definition: Definition, *rows: CostRow, fired: tuple[str, ...] = (), closed: str = "") -> list[dict[str, Any]]:
    """The data of what fires when these are the rows that the rule asks for."""
    own = rule(definition)
    known = {Fired("r1", 1, MONTH, threshold) for threshold in fired}
    answers = dict.fromkeys(questions([own], known, [MONTH]), rows)
    return [json.loads(each.body)["data"] for each in evaluate([own], known, answers, ClosedPeriods(closed), NOW)]


def reached(definition: Definition, *rows: CostRow, **options: Any) -> list[str]:
    return [data["threshold"] for data in fires(definition, *rows, **options)]


def test_a_threshold_is_reached_to_the_last_digit() -> None:
    assert reached(cost("0.300000000000000000000000000001"), row("0.1"), row("0.1"), row("0.100000000000000000000000000001"))
    assert reached(cost("0.3"), row("0.1"), row("0.2")) == ["0.3"]  # in floats more than it
    assert reached(cost("0.300000000000000000000000000001"), row("0.1"), row("0.2")) == []


def test_each_fires_once_and_the_lower_ones_first() -> None:
    definition = cost("100", "9", "1000")
    assert reached(definition, row("100")) == ["9", "100"]
    assert reached(definition, row("100"), fired=("9",)) == ["100"]
    assert reached(definition, row("100"), fired=("9", "100")) == []
    assert questions([rule(definition)], {Fired("r1", 1, MONTH, each) for each in definition.thresholds}, [MONTH]) == []
    assert questions([rule(definition)], {Fired("r1", 0, MONTH, each) for each in definition.thresholds}, [MONTH])  # of another revision


def test_percents_are_of_the_budget_exactly() -> None:
    definition = cost("33.3333333333333333%", "100%", budget="3.00")
    assert definition.budget == "3"
    assert str(amount_of(definition, definition.thresholds[0])) == "0.999999999999999999"
    assert reached(definition, row("0.999999999999999998")) == []
    (data,) = fires(definition, row("1"))
    assert (data["threshold"], data["amount"], data["budget"], data["value"]) == ("33.3333333333333333%", "0.999999999999999999", "3", "1")


def test_currencies_skus_and_units_are_never_added_to_each_other() -> None:
    assert reached(cost("10"), row("9.99"), row("100", "EUR")) == []
    rows = [row("9", sku="a", service="s"), row("9", sku="b", service="s"), row("9", sku="a", service=None)]
    assert reached(cost("10", sku="a", service="s"), *rows) == []
    assert reached(cost("9", sku="a", service="s"), *rows) == ["9"]
    usage = check_definition(Definition("usage", ("10",), sku="a", unit="GB"))
    most = row("100", consumed="9.9", sku="a", consumed_unit="GB")
    assert reached(usage, most, row(consumed="9", sku="a", consumed_unit="h"), row(consumed="9", sku="b", consumed_unit="GB")) == []
    assert reached(usage, most, row(consumed="0.1", currency="EUR", sku="a", consumed_unit="GB")) == ["10"]


def test_rows_of_another_account_are_not_looked_at() -> None:
    definition = cost("1")
    mine, other = rule(definition), rule(definition, "r2", "globex")
    answers = {Question("globex", MONTH, ()): [row("5")], Question("acme", MONTH, ()): [row("0.5")]}
    assert [each.key.rule_id for each in evaluate([mine, other], set(), answers, ClosedPeriods(), NOW)] == ["r2"]


def test_rules_that_ask_the_same_are_answered_once() -> None:
    rules = [rule(cost("1"), "r1"), rule(cost("2"), "r2"), rule(cost("1", sku="a"), "r3"), rule(cost("1", sku="b"), "r4")]
    assert questions(rules, set(), [MONTH]) == [Question("acme", MONTH, ()), Question("acme", MONTH, ("sku",))]


def test_a_message_says_whether_it_is_final() -> None:
    assert [data["status"] for data in fires(cost("1"), row("1"), closed="2026-10")] == ["estimate"]
    assert [data["status"] for data in fires(cost("1"), row("1"), closed="2026-11")] == ["final"]


def test_a_month_begins_where_it_begins_first() -> None:
    begins = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
    assert periods_of(begins - 14 * 3_600 - 1) == ("2026-10", "2026-11")
    assert periods_of(begins - 14 * 3_600) == ("2026-11", "2026-12")
    assert periods_of(begins + 31 * 86_400) == ("2026-12", "2027-01")


@pytest.mark.parametrize(
    "given",
    [
        {"what": "colour"}, {"thresholds": ()}, {"thresholds": ("1",) * 2}, {"thresholds": ("1", "1.0")}, {"thresholds": ("0",)},
        {"thresholds": ("-1",)},
        {"thresholds": ("1e3",)}, {"thresholds": ("NaN",)}, {"thresholds": ("1" * 31,)}, {"thresholds": ("٣",)},
        {"thresholds": tuple(map(str, range(1, 22)))},
        {"thresholds": ("50%",)}, {"budget": "100"}, {"thresholds": ("50%",), "budget": "0"}, {"thresholds": ("50%%",), "budget": "1"},
        {"currency": ""}, {"currency": "usd"}, {"unit": "GB"}, {"sku": "a\nb"}, {"sku": "a" * 1_025},
        {"what": "usage"}, {"what": "usage", "sku": "a", "unit": "GB"}, {"what": "usage", "sku": "a", "currency": ""},
    ],
)  # fmt: skip
def test_what_a_rule_cannot_say(given: dict[str, Any]) -> None:
    definition = Definition(**{"what": "cost", "thresholds": ("100",), "currency": "USD", **given})
    with pytest.raises(BadInput) as raised:
        check_definition(definition)
    assert "\n" not in str(raised.value)


def test_a_definition_survives_being_stored() -> None:
    definition = cost("50%", "80%", budget="12.50", sku="a")
    assert definition.budget == "12.5"
    assert msgspec.json.decode(msgspec.json.encode(definition), type=Definition) == definition == check_definition(definition)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "https:///x", "https://", "example.com", "https://u@example.com/", "https://u:canary@example.com/",
        "https://example.com/#x", "https://example.com/a b", "https://example.com/\n", "https://exämple.com/", "https://example.com:99999/",
        "https://example.com:0/", "https://[::1/", "https://example.com/" + "a" * 2_048, "",
    ],
)  # fmt: skip
def test_urls_that_nothing_is_sent_to(url: str) -> None:
    with pytest.raises(BadInput) as raised:
        check_url(url, allow_private=False)
    assert "canary" not in str(raised.value)


def test_http_is_for_those_who_allow_it() -> None:
    check_url("https://example.com:8443/a?b=c", allow_private=False)
    check_url("http://127.0.0.1:8080/", allow_private=True)
