"""What the compiled loops read from records is what the decoders read from them; what is not plain they leave to those."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from ratemill.schemas.decoders.cloudevents import decode_plain, decode_plain_many, plain_bytes
from ratemill.schemas.decoders.registry import decode_record
from ratemill.schemas.limits import DEFAULT_LIMITS as LIMITS
from ratemill.schemas.usage_event import UsageEvent, hot, identify
from ratemill.streams.topics import partition_of

pytestmark = pytest.mark.skipif(hot is None, reason="not compiled")

NOW = 1_772_323_200_000_000_000
DAY = 86_400_000_000_000
PARTITIONS = 3
# What a member may hold: usual texts, and such as are refused or unusual.
TEXTS = ["a", "bc", "account-1", "x" * 60, "r" * 300, "é", "", "a\\b", 'q"', "\x7f", "\x01", " ", "0"]
TIMES = [
    "2026-03-01T00:00:00Z", "2026-02-28T23:59:59.123456789Z", "2026-03-01T00:00:00.5Z", "2026-03-01T01:00:00+01:00", "2025-01-01T00:00:00Z", "",
]  # fmt: skip
QUANTITIES: list[Any] = ["1", "0.10", "-3.5", "0", "-0.0", "007", "1e3", "123456789012345678901.5", "9" * 37, "9" * 61, 3, 1.5, -2, "", None, True]


def event(rng: random.Random, usual: float) -> bytes:
    """An event, each of its members usual with this probability."""

    def one(usual_one: Any, others: list[Any]) -> Any:
        return usual_one if rng.random() < usual else rng.choice(others)

    data = {"sku": one("sku", TEXTS), "quantity": one("1.50", QUANTITIES), "unit": one("GB", TEXTS)}
    for name in ("region", "resource", "provider"):
        if rng.random() < 0.4:
            data[name] = one("eu", TEXTS)
    if rng.random() > usual:
        data[rng.choice(["dimensions", "tags"])] = {"k": "v"}
    found = {
        "specversion": one("1.0", ["0.3", ""]), "type": one("usage", TEXTS), "source": one(f"s{rng.randrange(9)}", TEXTS),
        "id": one(str(rng.randrange(10**9)), TEXTS), "subject": one(f"acct-{rng.randrange(9)}", TEXTS), "time": one(TIMES[0], TIMES), "data": data,
    }  # fmt: skip
    if rng.random() > usual:
        found[rng.choice(["datacontenttype", "traceparent", "id2"])] = rng.choice(["application/json", "text/plain"])
    members = list(found.items())
    rng.shuffle(members)
    text = json.dumps(dict(members), ensure_ascii=rng.random() < 0.5, separators=rng.choice([(",", ":"), (" , ", ": ")]))
    if rng.random() > usual:
        text = rng.choice([text[:-1], text + " ", text + "x", text.replace(":", "::", 1), "\n" + text])
    return text.encode()


def record(rng: random.Random, usual: float) -> bytes | None:
    if rng.random() < 0.7:
        return event(rng, usual)
    if rng.random() < 0.1:
        return rng.choice([None, b"", b"[]", b"[", b"null", b"[1]"])
    events = [event(rng, usual if rng.random() < 0.5 else 1) for _ in range(rng.randrange(1, 6))]
    comma = rng.choice([b",", b" ,\n", b";"] if rng.random() < 0.1 else [b","])
    return rng.choice([b"[", b" [", b"[ "]) + comma.join(events) + rng.choice([b"]", b"] "])


def accepted(value: bytes | None, own: int) -> list[UsageEvent] | None:
    """Events of a record that all count as they are, by the decoders; None when not all do."""
    found = decode_record("cloudevents", value, [], LIMITS)
    events = [e for e in found if isinstance(e, UsageEvent)]
    timely = all(NOW - 35 * DAY <= e.time <= NOW + DAY for e in events)
    in_place = own < 0 or all(partition_of(e.account, PARTITIONS) == own for e in events)
    return events if len(events) == len(found) and timely and in_place else None


def read(values: list[bytes | None], own: int, readings: Any) -> list[list[UsageEvent] | None]:
    """By record, what the compiled loops make of it; None: left to the decoders."""
    result: list[list[UsageEvent] | None] = []
    at = 0
    while at < len(values):
        longest = plain_bytes(LIMITS), LIMITS.max_record_bytes, LIMITS.max_events_per_record
        readings.read(values, at, *longest, NOW - 35 * DAY, NOW + DAY, PARTITIONS, own)
        by_record: dict[int, list[UsageEvent]] = {position: [] for position in range(at, readings.past)}
        for number in range(len(readings)):
            position, index = readings.origin(number)
            its = by_record[position]
            assert index == len(its)
            its.append(readings.event(number))
            assert readings.identity(number) == identify(its[-1])
        result += by_record.values()
        at = readings.past
        if at < len(values):
            result.append(None)
            at += 1
    return result


@pytest.mark.parametrize("seed", range(30))
def test_what_is_read_is_what_the_decoders_accept(seed: int) -> None:
    rng = random.Random(seed)
    own = rng.choice((-1, 0, 1, 2))
    usual = rng.choice((1, 0.98, 0.8))
    values = [record(rng, usual) for _ in range(400)]
    readings, plain, read_at_all = hot.Readings(), 0, 0
    for value, events in zip(values, read(values, own, readings), strict=True):
        expected = accepted(value, own)
        if events is not None:
            assert events == expected, value
            assert [str(e.quantity) for e in events] == [str(e.quantity) for e in expected or []]
            read_at_all += 1
        elif expected is not None and len(expected) == 1 and value is not None and value[:1] == b"{" and value.isascii():
            # Plain for the loop beside this one, so plain here, unless its quantity has too many digits.
            assert decode_plain_many([value])[0] is None or len(str(expected[0].quantity)) > 36, value
        plain += expected is not None
    assert read_at_all > plain * (0.95 if usual == 1 else 0.3)


def test_a_long_array_and_a_long_record_are_left() -> None:
    value = event(random.Random(1), 1)
    readings = hot.Readings()

    def past(record: bytes, most: int, largest: int) -> int:
        readings.read([record], 0, 1_024, largest, most, 0, 2 * NOW, 1, 0)
        return int(readings.past)

    array = b"[" + b",".join([value] * 3) + b"]"
    assert (past(array, 3, 10_000), len(readings)) == (1, 3)
    assert (past(array, 2, 10_000), len(readings)) == (0, 0)
    assert (past(array, 3, len(array) - 1), len(readings)) == (0, 0)
    assert past(value, 3, len(value)) == 1
    padded = value[:-1] + b" " * 1_024 + b"}"
    assert past(padded, 3, 10_000) == past(b"[" + padded + b"]", 3, 10_000) == 0  # longer than a plain event may be
    assert decode_plain(padded) == decode_plain(value)
