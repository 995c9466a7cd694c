"""Every limit of what is decoded: reached it is accepted, passed it is refused with its reason; and the documentation says the same."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from ratemill.schemas.decoders import decode_record
from ratemill.schemas.errors import Reason, Rejection
from ratemill.schemas.limits import DEFAULT_LIMITS, Limits
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.config import RatingConfig

ROOT = Path(__file__).parents[3]
DATA: dict[str, Any] = {"sku": "s", "quantity": "1", "unit": "u"}


def event(**data: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "i", "source": "s", "type": "t", "subject": "a", "time": "2026-07-16T14:00:00Z", "data": {**DATA, **data}}


def only(value: object, provider: str = "cloudevents", headers: Any = (), limits: Limits = DEFAULT_LIMITS) -> UsageEvent | Rejection:
    found = decode_record(provider, value if isinstance(value, bytes) else json.dumps(value).encode(), headers, limits)
    assert len(found) == 1
    return found[0]


def reason(entry: UsageEvent | Rejection) -> Reason:
    assert isinstance(entry, Rejection), entry
    assert "\n" not in entry.detail
    return entry.reason


def nested(depth: int) -> bytes:
    return json.dumps(event()).encode()[:-1] + b',"x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def operation(values: int, label: str = "", each: str = '{"int64Value":"1"}') -> bytes:
    head = f'{{"operationId":"o","consumerId":"c","startTime":"2026-07-16T14:00:00Z","labels":{{"l":"{label}"}},"metricValueSets":['
    return (
        head
        + ",".join(f'{{"metricName":"m{at}","metricValues":[{",".join([each] * min(values - at, 9_000))}]}}' for at in range(0, values, 9_000))
        + "]}"
    ).encode()


D = DEFAULT_LIMITS
BOUNDS = {
    "max_record_bytes": (json.dumps(event()).encode().ljust(D.max_record_bytes),
    json.dumps(event()).encode().ljust(D.max_record_bytes + 1), Reason.TOO_LARGE),
    "max_depth": (nested(D.max_depth), nested(D.max_depth + 1), Reason.TOO_DEEP),
    "max_text_chars": (event(sku="é" * D.max_text_chars), event(sku="é" * (D.max_text_chars + 1)), Reason.BAD_FIELD),
    "max_members": (event(**{f"k{n}": 1 for n in range(D.max_members - 3)}), event(**{f"k{n}": 1 for n in range(D.max_members - 2)}),
    Reason.TOO_LARGE),
    "max_dimensions": (
        event(dimensions={f"k{n}": "v" for n in range(D.max_dimensions)}),
        event(dimensions={f"k{n}": "v" for n in range(D.max_dimensions + 1)}), Reason.BAD_FIELD,
    ),
    "max_map_chars": (
        event(tags={f"{n:03d}": "v" * 1_000 for n in range(64)}), event(tags={f"{n:03d}{'k' * 1_000}": "v" * 1_000 for n in range(64)}),
        Reason.BAD_FIELD,
    ),
    "max_quantity_digits": (event(quantity="9" * D.max_quantity_digits), event(quantity="9" * (D.max_quantity_digits + 1)), Reason.BAD_QUANTITY),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDS)
def test_a_limit_may_be_reached_and_not_passed(name: str) -> None:
    reached, passed, said = BOUNDS[name]
    assert isinstance(only(reached), UsageEvent)
    assert reason(only(passed)) is said


@pytest.mark.parametrize(("name", "value"), [("max_dimensions", 1), ("max_map_chars", 1_024), ("max_depth", 3), ("max_record_bytes", 200)])
def test_a_limit_that_is_set_holds(name: str, value: int) -> None:
    large = event(dimensions={"a": "v" * 600, "b": "v" * 600}, more=[[[]]])
    assert isinstance(only(large), UsageEvent)
    assert isinstance(only(large, limits=Limits(**{name: value})), Rejection)


def test_headers_are_bounded_and_may_have_no_value() -> None:
    whole = D.max_header_bytes
    assert isinstance(only(event(), headers=[("x", b"y" * (whole - 1))]), UsageEvent)
    assert reason(only(event(), headers=[("x", b"y" * whole)])) is Reason.TOO_LARGE
    assert reason(only(event(), headers=[("x", b"")] * (whole + 1))) is Reason.TOO_LARGE
    assert isinstance(only(event(), headers=[("x", None), ("content-type", None)]), UsageEvent)
    assert reason(only(event(), headers=[("ratemill-format", None)])) is Reason.NOT_SUPPORTED
    assert reason(only(event(), headers=[("ratemill-backfill", None)])) is Reason.MISSING_FIELD


def test_events_of_a_record_are_bounded_however_they_are_nested() -> None:
    most = D.max_events_per_record
    assert len(decode_record("gcp", operation(most), ())) == most
    assert reason(only(operation(most + 1), "gcp")) is Reason.TOO_LARGE
    report = b'{"operations":[' + b",".join([operation(most // 4)] * 5) + b"]}"
    assert len(report) < D.max_record_bytes
    assert reason(only(report, "gcp")) is Reason.TOO_LARGE
    assert reason(only([event()] * (most + 1), limits=Limits(max_record_bytes=16 << 20))) is Reason.TOO_LARGE
    assert reason(only(b"[" + b"{}," * 300_000 + b"{}]")) is Reason.TOO_LARGE


@pytest.mark.parametrize("each", ['{"int64Value":"1"}', '{"int64Value":"1","labels":{"own":"x"}}'])
def test_what_a_record_says_once_for_many_events_is_bounded(each: str) -> None:
    """A record of 300 KB became 10,000 events of 100 KB: a gigabyte."""
    few = decode_record("gcp", operation(1_000, "x" * 1_000, each), ())
    assert len(few) == 1_000
    assert all(isinstance(entry, UsageEvent) for entry in few)
    bomb = operation(9_000, "x" * 1_000, each).replace(
        b'"labels":{"l"', b'"labels":{' + b",".join(b'"%d":"%b"' % (n, b"y" * 1_000) for n in range(60)) + b',"l"', 1
    )
    assert len(bomb) < D.max_record_bytes
    assert reason(only(bomb, "gcp")) is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "value",
    [b"[" * (1 << 20), b'{"a":' * (1 << 17), b"[{" * (1 << 19), b"9" * (1 << 20), b'"' * (1 << 20), b'["' + b'\\"' * (1 << 19),
    b"1e999999999", b"[" + b"1e9," * (1 << 18)],
    ids=["brackets", "members", "both", "digits", "quotes", "escapes", "exponent", "numbers"],
)  # fmt: skip
@pytest.mark.parametrize("provider", ["cloudevents", "aws", "gcp", "azure"])
def test_a_megabyte_of_nonsense_is_one_rejection(provider: str, value: bytes) -> None:
    assert isinstance(only(value[: 1 << 20], provider), Rejection)


@pytest.mark.parametrize(
    "quantity", ["9" * 1_000_000, '"' + "9" * 1_000_000 + '"', "1e999999999", "-1e-999999999", "0." + "0" * 1_000_000, "NaN", "Infinity"]
)
def test_a_number_that_would_cost_much_is_never_computed(quantity: str) -> None:
    value = json.dumps(event(quantity="Q")).replace('"Q"', quantity).encode()
    assert reason(only(value)) is Reason.BAD_QUANTITY


# -- the documentation ----------------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| [^|]+ \| ([0-9,]+)[^|]* \| `(\w+)` \| (yes|no) \| `(\w+)` \|$", re.MULTILINE)
BY_TIME = {"max_clock_skew_s", "max_event_age_s", "max_offline_ahead_s", "earliest_year", "latest_year"}


def test_the_table_of_limits_is_what_the_code_has() -> None:
    text = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
    rows = {name: (int(value.replace(",", "")), setting == "yes", said) for value, name, setting, said in ROW.findall(text)}
    assert set(rows) == {field.name for field in fields(Limits)} - BY_TIME
    for name, (value, setting, said) in rows.items():
        assert value == getattr(DEFAULT_LIMITS, name), name
        assert setting == (name in RatingConfig.model_fields), name
        assert said in set(Reason), name


def test_settings_begin_with_the_limits_and_arrive_in_them() -> None:
    defaults = RatingConfig().limits
    assert {f.name: getattr(defaults, f.name) for f in fields(Limits)} == {f.name: getattr(DEFAULT_LIMITS, f.name) for f in fields(Limits)}
    for name in set(RatingConfig.model_fields) & {field.name for field in fields(Limits)} - BY_TIME:
        assert getattr(RatingConfig(**{name: 1_024 if "bytes" in name or "chars" in name else 8}).limits, name) in (8, 1_024), name
