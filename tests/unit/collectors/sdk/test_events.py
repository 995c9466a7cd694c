"""What a collector makes: ids that are the same each time, and events that Ratemill reads as they were meant."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.collectors.sdk import BadInput, event_id, usage
from ratemill.schemas.decoders.registry import decode
from ratemill.schemas.event_checks import check_event
from ratemill.schemas.times import parse_time
from ratemill.schemas.usage_event import UsageEvent, identify

START, END = "2026-11-27T10:00:00Z", "2026-11-27T11:00:00Z"
WINDOW: dict[str, Any] = {
    "account": "acme", "source": "s", "resource": "disk-7", "sku": "storage", "quantity": "12.5", "unit": "GB-Mo", "start": START, "end": END,
}  # fmt: skip


def read(**fields: Any) -> UsageEvent:
    (event,) = decode(usage(**fields).body, (), "cloudevents")
    assert isinstance(event, UsageEvent), event
    return event


def test_an_id_stays_what_it_is() -> None:
    """Another one in the next release would count what was collected before it twice."""
    text = '["s","disk-7","2026-11-27T10:00:00Z","2026-11-27T11:00:00Z","storage"]'
    assert event_id("s", "disk-7", START, END, "storage") == hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def test_an_instant_has_one_id_however_it_is_written() -> None:
    spellings = [START, "2026-11-27T12:00:00.000+02:00", datetime(2026, 11, 27, 10, tzinfo=UTC), parse_time(START)]
    spellings.append(datetime(2026, 11, 27, 7, tzinfo=timezone(timedelta(hours=-3))))
    assert len({event_id("s", "r", start, END) for start in spellings}) == 1


@pytest.mark.parametrize("change", [
    {"source": "t"}, {"resource": "disk-8"}, {"start": "2026-11-27T10:30:00Z"}, {"end": "2026-11-27T12:00:00Z"}, {"sku": "egress"}, {"unit": "GB"},
    {"region": "eu"}, {"provider": "aws"}, {"dimensions": {"tier": "hot"}},
])  # fmt: skip
def test_what_tells_usage_apart_is_in_the_identity(change: dict[str, Any]) -> None:
    assert identify(read(**WINDOW))[0] != identify(read(**WINDOW | change))[0]


@pytest.mark.parametrize("change", [{"quantity": "13"}, {"tags": {"team": "search"}}])
def test_an_amount_is_not_in_the_identity(change: dict[str, Any]) -> None:
    assert identify(read(**WINDOW))[0] == identify(read(**WINDOW | change))[0]


def test_parts_of_an_id_do_not_run_together() -> None:
    assert event_id("a", "bc", START, END) != event_id("ab", "c", START, END)
    assert event_id("a", "b", START, END, "c", "d") != event_id("a", "b", START, END, "cd")


TEXTS = st.text(max_size=6) | st.sampled_from(["", "a\nb", "\x7f", "\u0085", "\ud800", "x" * 1_024, "x" * 1_025, "é", '"', "\\"])
QUANTITIES = st.decimals() | st.integers() | TEXTS | st.sampled_from(["1e400", "-0", "0.10", "1E3", "+1", " 1"])
MAPS = st.dictionaries(TEXTS, TEXTS, max_size=3)
TIMES = st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2250, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.fixed_dictionaries({
    "account": TEXTS, "source": TEXTS, "id": TEXTS, "sku": TEXTS, "unit": TEXTS, "quantity": QUANTITIES, "time": TIMES, "provider": TEXTS,
    "region": TEXTS, "resource": TEXTS, "dimensions": MAPS, "tags": MAPS,
}))  # fmt: skip
def test_what_is_made_is_read_as_it_was_meant(fields: dict[str, Any]) -> None:
    """Whatever is refused is refused where it is made; whatever is made, Ratemill takes."""
    try:
        made = usage(**fields)
    except BadInput:
        return
    assert b"\n" not in made.body
    (found,) = decode(made.body, (), "cloudevents")
    assert isinstance(found, UsageEvent), found
    check_event(found)
    assert (found.account, found.source, found.id, found.sku, found.unit) == tuple(fields[n] for n in ("account", "source", "id", "sku", "unit"))
    assert (found.provider, found.region, found.resource) == (fields["provider"], fields["region"], fields["resource"])
    assert found.quantity == Decimal(fields["quantity"])
    assert found.time == (fields["time"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


@pytest.mark.parametrize("end", ["2026-11-27T10:00:00Z", "2026-11-27T09:59:59Z", "2026-11-27T11:00:00+01:00"])
def test_a_window_that_does_not_end_after_its_start_is_a_slip(end: str) -> None:
    with pytest.raises(BadInput, match="comes after its start"):
        usage(account="a", source="s", sku="k", quantity="1", unit="u", start="2026-11-27T10:00:00Z", end=end)


def test_usual_events_are_made() -> None:
    """The test above is not about refusals only."""
    event = read(account="acme", source="s", id="1", time=datetime(2026, 11, 27, 10, 0, 0, 5, UTC), sku="k", quantity=Decimal("1E+3"), unit="u",
                 dimensions={"b": "2", "a": "1"}, tags={"note": "two\nlines"})  # fmt: skip
    assert (event.quantity, event.time) == (1000, parse_time("2026-11-27T10:00:00.000005Z"))
    assert (event.dimensions, event.tags) == ('{"a":"1","b":"2"}', '{"note":"two\\nlines"}')


@pytest.mark.parametrize(("change", "said"), [
    ({"quantity": 1.5}, "float"), ({"quantity": True}, "bool"), ({"quantity": "NaN"}, "not a decimal number"), ({"account": ""}, "account is empty"),
    ({"account": None}, "account is NoneType"), ({"sku": "a\nb"}, "control characters"),
    ({"start": datetime(2026, 1, 1)}, "no zone"),  # noqa: DTZ001
    ({"start": "yesterday"}, "start"), ({"end": None}, "either an id and a time"), ({"id": "x"}, "either an id and a time"),
    ({"end": 1.0}, "RFC 3339"),
    ({"source": "\ud800"}, "surrogate"), ({"resource": None}, "made of texts"), ({"dimensions": {"a": "\ud800"}}, "control characters"),
    ({"dimensions": {1: "a", "b": "c"}}, "must be texts"), ({"dimensions": {"n": 1}}, "must be texts"),
    ({"start": 10**30}, "outside the years"), ({"start": datetime(1600, 1, 1, tzinfo=UTC)}, "outside the years"),
    ({"tags": {str(n): "" for n in range(65)}}, "at most 64"),
])  # fmt: skip
def test_what_ratemill_would_not_take_is_refused_in_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        usage(**WINDOW | change)
    assert "\n" not in str(caught.value)
