"""Which thresholds are reached: what has to be asked, and what fires. Pure: the clock and the costs are passed in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import NamedTuple

import msgspec

from ...pricing.money import EXACT, ZERO, money, plain
from ...schemas.times import NS, format_time
from ...sinks.costs import CostRow
from ...sinks.periods import ClosedPeriods
from .rules import Definition, Rule, amount_of

__all__ = ["Fired", "Firing", "Question", "evaluate", "periods_of", "questions", "sample"]

_EARLIEST_ZONE = timedelta(hours=14)


class Fired(NamedTuple):
    """What fires once: a threshold of one revision of a rule, in one billing month."""

    rule_id: str
    revision: int
    period: str
    threshold: str


class Question(NamedTuple):
    """Costs of an account in a billing month, by some dimensions: rules that ask the same are answered once."""

    account: str
    period: str
    by: tuple[str, ...]


class Firing(NamedTuple):
    """A threshold that is reached, and the message that says so."""

    key: Fired
    body: str


def periods_of(now: int) -> tuple[str, str]:
    """The billing months that are watched at a time (seconds since 1970): the newest that has begun anywhere, and the one before it."""
    newest = datetime.fromtimestamp(now, UTC) + _EARLIEST_ZONE
    before = newest.replace(day=1) - timedelta(days=1)
    return f"{before:%Y-%m}", f"{newest:%Y-%m}"


def questions(rules: Iterable[Rule], fired: Collection[Fired], periods: Sequence[str]) -> list[Question]:
    """What has to be asked: nothing for rules all of whose thresholds have fired."""
    wanted = {
        Question(rule.account, period, _dimensions(rule.definition)): None
        for rule in rules for period in periods
        if any(_key(rule, period, threshold) not in fired for threshold in rule.definition.thresholds)
    }  # fmt: skip
    return list(wanted)


def evaluate(
    rules: Iterable[Rule], fired: Collection[Fired], answers: Mapping[Question, Sequence[CostRow]], closed: ClosedPeriods, now: int
) -> list[Firing]:
    """What fires now, lower thresholds first. Thresholds in `fired` never do, and what was not asked is not looked at.

    now: seconds since 1970, UTC.
    """
    found = []
    for rule in rules:
        own = [question for question in answers if question.account == rule.account and question.by == _dimensions(rule.definition)]
        for question in sorted(own):
            value = _value(rule.definition, answers[question])
            for threshold in sorted(rule.definition.thresholds, key=lambda each: amount_of(rule.definition, each)):
                key = _key(rule, question.period, threshold)
                if key not in fired and value >= amount_of(rule.definition, threshold):
                    found.append(Firing(key, _message(rule, key, value, closed.status(question.period), now)))
    return found


def sample(rule: Rule, period: str, now: int) -> str:
    """A message as if the first threshold were just reached, of type `ratemill.alert.test`."""
    threshold = rule.definition.thresholds[0]
    value = amount_of(rule.definition, threshold)
    return _message(rule, _key(rule, period, threshold), value, "estimate", now, "ratemill.alert.test")


def _key(rule: Rule, period: str, threshold: str) -> Fired:
    return Fired(rule.id, rule.revision, period, threshold)


def _dimensions(definition: Definition) -> tuple[str, ...]:
    if definition.what == "usage":
        return ("sku", "consumed_unit")
    return tuple(name for name in ("sku", "service") if getattr(definition, name))


def _value(definition: Definition, rows: Iterable[CostRow]) -> Decimal:
    """Exact total of the rows that a rule is about. Currencies and units are never added to each other."""
    usage = definition.what == "usage"
    wanted = {"sku": definition.sku, "consumed_unit" if usage else "service": definition.unit if usage else definition.service}
    amounts = [
        money((row.consumed_quantity or "0") if usage else row.billed_cost)
        for row in rows
        if (usage or row.currency == definition.currency) and all(not value or row.group[name] == value for name, value in wanted.items())
    ]
    with localcontext(EXACT):
        return sum(amounts, ZERO)


def _message(rule: Rule, key: Fired, value: Decimal, status: str, now: int, kind: str = "ratemill.alert") -> str:
    """The body of a webhook: type, timestamp and data, as Standard Webhooks has them."""
    data = {
        "rule": rule.id, "name": rule.name, "account": rule.account, "period": key.period, "status": status, "threshold": key.threshold,
        "value": plain(value), **msgspec.to_builtins(msgspec.structs.replace(rule.definition, thresholds=())),
    }  # fmt: skip
    data["amount"] = plain(amount_of(rule.definition, key.threshold))
    data.pop("thresholds")
    return msgspec.json.encode({"type": kind, "timestamp": format_time(now * NS), "data": data}).decode()
