"""CloudEvents in the plain form: the short way and the long way agree, and every mistake has its reason."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.schemas.decoders import decode, decode_plain, decode_record, detect
from ratemill.schemas.decoders.cloudevents import event_from_cloudevent
from ratemill.schemas.decoders.reading import parse_json
from ratemill.schemas.errors import Reason, Rejection
from ratemill.schemas.limits import DEFAULT_LIMITS
from ratemill.schemas.quantity import parse_quantity
from ratemill.schemas.times import parse_time
from ratemill.schemas.usage_event import UsageEvent

DATA: dict[str, Any] = {
    "sku": "db.ram",
    "quantity": "4.25",
    "unit": "GB-hours",
    "provider": "aws",
    "region": "eu-west-1",
    "resource": "i-1",
    "dimensions": {"tier": "hot", "az": "a"},
    "tags": {"team": "x"},
}
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "evt-1",
    "source": "/collectors/eu-1",
    "type": "com.example.usage",
    "subject": "acct-42",
    "time": "2026-07-16T14:00:07Z",
    "data": DATA,
}
EXPECTED = UsageEvent(
    "acct-42", "/collectors/eu-1", "evt-1", "db.ram", parse_time("2026-07-16T14:00:07Z"), parse_quantity("4.25"), "GB-hours",
    "aws", "eu-west-1", "i-1", '{"az":"a","tier":"hot"}', '{"team":"x"}',
)  # fmt: skip


def raw(**changes: Any) -> bytes:
    return json.dumps({**EVENT, **changes}, ensure_ascii=False).encode("utf-8", "surrogatepass")


def with_data(**changes: Any) -> bytes:
    return raw(data={**DATA, **changes})


def outcome(value: bytes, read: Any) -> Any:
    try:
        return read(value)
    except Rejection as rejection:
        return (rejection.reason, rejection.detail)


def slow(value: bytes) -> UsageEvent:
    return event_from_cloudevent(parse_json(value, DEFAULT_LIMITS), DEFAULT_LIMITS)


def test_the_plain_form() -> None:
    assert decode_plain(raw()) == EXPECTED
    assert decode_record("cloudevents", raw(), ()) == [EXPECTED]
    assert decode(raw(), [("content-type", b"Application/CloudEvents+JSON; charset=UTF-8")], "cloudevents") == [EXPECTED]


@pytest.mark.parametrize(
    "value",
    [
        raw(),
        raw(traceparent="00-ab", partitionkey="x"),
        raw(traceparent=1, tracestate="", dataschema="/s"),
        raw(comexample="x", sequence="1"),
        raw(traceparent="00-ab").replace(b'"id"', b'"id": "evt-0", "id"'),
        raw(datacontenttype="application/json; charset=utf-8"),
        raw(datacontenttype="application/json"),
        with_data(quantity=4.25, region=None, tags=None, dimensions={}),
        with_data(extra=[{"deep": 1}]),
        json.dumps(EVENT, indent=2).encode(),
        json.dumps({**EVENT, "subject": "Käufer \U0001f600"}).encode(),
        raw(subject='a"b\\c'),
        raw(subject="x" * 1025),
        raw(subject="a\u0085b"),
        raw(subject="a\u007fb"),
        with_data(dimensions={"n": 1.50, "t": True, "f": False, "z": None, "e": ""}),
        with_data(dimensions={"n": [1]}),
        with_data(dimensions={f"k{i}": "" for i in range(65)}),
        with_data(tags={"note": "two\nlines"}),
        b" " + raw() + b"\n",
    ],
)
def test_short_and_long_way_agree(value: bytes) -> None:
    for _ in range(2):
        assert outcome(value, decode_plain) == outcome(value, slow)


JSON = st.recursive(st.none() | st.booleans() | st.text(max_size=5) | st.integers() | st.just("1.5"), lambda s: st.lists(s, max_size=2), max_leaves=3)


@given(st.sampled_from([*EVENT, "data.sku", "data.quantity", "data.dimensions", "data.region", "new"]), JSON, st.booleans())
def test_short_and_long_way_agree_on_anything(where: str, what: Any, remove: bool) -> None:
    event = {**EVENT, "data": dict(DATA)}
    target, _, key = where.rpartition(".")
    place: dict[str, Any] = event["data"] if target else event
    if remove:
        place.pop(key, None)
    else:
        place[key] = what
    value = json.dumps(event).encode()
    assert outcome(value, decode_plain) == outcome(value, slow)


def test_numbers_keep_their_digits() -> None:
    value = raw().replace(b'"4.25"', b"0.1000000000000000055511151231257827")
    assert str(decode_plain(value).quantity) == "0.1000000000000000055511151231257827"
    event = decode_plain(raw().replace(b'"hot"', b"1.50"))
    assert event.dimensions == '{"az":"a","tier":"1.50"}'


TABLE: list[tuple[str, bytes | None, Reason]] = [
    ("tombstone", None, Reason.NOT_DECODABLE),
    ("empty", b"", Reason.NOT_DECODABLE),
    ("blank", b"  ", Reason.NOT_DECODABLE),
    ("not JSON", b"hello", Reason.NOT_DECODABLE),
    ("truncated", raw()[:-5], Reason.NOT_DECODABLE),
    ("trailing", raw() + b"x", Reason.NOT_DECODABLE),
    ("byte order mark", b"\xef\xbb\xbf" + raw(), Reason.NOT_DECODABLE),
    ("invalid UTF-8", raw().replace(b"acct", b"\xff\xfe"), Reason.NOT_DECODABLE),
    ("UTF-16", raw().decode().encode("utf-16"), Reason.NOT_DECODABLE),
    ("raw control character", raw().replace(b"acct", b"a\x00"), Reason.NOT_DECODABLE),
    ("10 MB", b'{"specversion": "' + b"x" * 10_000_000 + b'"}', Reason.TOO_LARGE),
    ("deep", b"[" * 100_000, Reason.TOO_DEEP),
    ("deep and closed", raw(x=0).replace(b'"x": 0', b'"x": ' + b"[" * 40 + b"]" * 40), Reason.TOO_DEEP),
    ("quotes without end", b'{"a":"' + b'\\"' * 400_000 + b"[" * 40, Reason.NOT_DECODABLE),
    ("NaN", with_data(quantity=float("nan")), Reason.BAD_QUANTITY),
    ("Infinity", with_data(quantity=float("inf")), Reason.BAD_QUANTITY),
    ("1e400", raw().replace(b'"4.25"', b"1e400"), Reason.BAD_QUANTITY),
    ("1e400 as text", with_data(quantity="1e400"), Reason.BAD_QUANTITY),
    ("boolean quantity", with_data(quantity=True), Reason.BAD_QUANTITY),
    ("object quantity", with_data(quantity={}), Reason.BAD_QUANTITY),
    ("empty quantity", with_data(quantity=""), Reason.BAD_QUANTITY),
    ("null quantity", with_data(quantity=None), Reason.MISSING_FIELD),
    ("no account", raw(subject=None), Reason.MISSING_FIELD),
    ("empty account", raw(subject=""), Reason.MISSING_FIELD),
    ("numeric account", raw(subject=42), Reason.BAD_FIELD),
    ("NUL in account", raw().replace(b"acct-42", b"a\\u0000b"), Reason.BAD_FIELD),
    ("newline in id", raw(id="a\nb"), Reason.BAD_FIELD),
    ("C1 control in source", raw(source="a\u009fb"), Reason.BAD_FIELD),
    ("half surrogate", raw().replace(b"acct-42", b"\\ud800"), Reason.BAD_FIELD),
    ("long id", raw(id="x" * 1025), Reason.BAD_FIELD),
    ("no id", raw(id=None), Reason.MISSING_FIELD),
    ("no type", raw(type=None), Reason.MISSING_FIELD),
    ("no specversion", raw(specversion=None), Reason.MISSING_FIELD),
    ("other specversion", raw(specversion="0.3"), Reason.NOT_SUPPORTED),
    ("no time", raw(time=None), Reason.MISSING_FIELD),
    ("no zone", raw(time="2026-07-16T14:00:07"), Reason.BAD_TIME),
    ("number as time", raw(time=1784210407), Reason.BAD_FIELD),
    ("no data", raw(data=None), Reason.NOT_SUPPORTED),
    ("other data", raw(data={"a": 1}), Reason.NOT_SUPPORTED),
    ("data is no object", raw(data="x"), Reason.BAD_FIELD),
    ("avro data", raw(datacontenttype="application/avro"), Reason.NOT_SUPPORTED),
    ("no sku", with_data(sku=""), Reason.MISSING_FIELD),
    ("no unit", with_data(unit=None), Reason.MISSING_FIELD),
    ("key twice", raw().replace(b'"id"', b'"id": "evt-0", "id"', 1), Reason.BAD_FIELD),
    ("key twice in data", raw().replace(b'"sku"', b'"sku": "x", "sku"'), Reason.BAD_FIELD),
    ("key twice in dimensions", raw().replace(b'"tier"', b'"tier": "x", "tier"'), Reason.BAD_FIELD),
    ("65 dimensions", with_data(dimensions={f"k{i}": "v" for i in range(65)}), Reason.BAD_FIELD),
    ("nested dimension", with_data(dimensions={"a": {}}), Reason.BAD_FIELD),
    ("long dimension", with_data(dimensions={"a": "x" * 1025}), Reason.BAD_FIELD),
    ("control in dimension", with_data(dimensions={"a": "x\ty"}), Reason.BAD_FIELD),
    ("an empty batch", b"[]", Reason.NOT_SUPPORTED),
    ("a number", b"1", Reason.BAD_FIELD),
]


@pytest.mark.parametrize(("value", "reason"), [(v, r) for _, v, r in TABLE], ids=[n for n, _, _ in TABLE])
def test_bad_input_has_one_reason(value: bytes | None, reason: Reason) -> None:
    found = decode_record("cloudevents", value, ())
    assert len(found) == 1
    (rejection,) = found
    assert isinstance(rejection, Rejection)
    assert rejection.reason is reason
    assert "\n" not in str(rejection)
    assert rejection.__traceback__ is None


def test_minus_zero_1970_and_2100_are_events() -> None:
    """Their time is the business of check_time, which knows the clock; the quantity is plain zero."""
    (event,) = decode_record("cloudevents", raw(time="1970-01-01T00:00:00Z").replace(b'"4.25"', b"-0.0"), ())
    assert isinstance(event, UsageEvent)
    assert (event.time, str(event.quantity)) == (0, "0")
    (event,) = decode_record("cloudevents", raw(time="2100-01-01T00:00:00Z"), ())
    assert isinstance(event, UsageEvent)


def test_the_detail_says_where() -> None:
    (found,) = decode_record("cloudevents", '{"ä": x}'.encode(), ())
    assert isinstance(found, Rejection)
    assert "byte 7" in found.detail
    (found,) = decode_record("cloudevents", raw()[:50], ())
    assert "too early" in str(found) or "byte 5" in str(found) or "Unterminated" in str(found)


def test_a_bad_sibling_does_not_stop_a_batch() -> None:
    for bad in (raw(id=None), raw().replace(b'"4.25"', b"NaN"), b"12", b"[]"):
        batch = b"[" + b",".join([raw(id="1"), bad, raw(id="3")]) + b"]"
        first, second, third = decode(batch, [("content-type", b"application/cloudevents-batch+json")], "cloudevents")
        assert isinstance(first, UsageEvent)
        assert isinstance(second, Rejection)
        assert isinstance(third, UsageEvent)
        assert (first.id, third.id) == ("1", "3")


def test_a_batch_has_an_end() -> None:
    few = replace(DEFAULT_LIMITS, max_events_per_record=2)
    (found,) = decode(b"[1,2,3]", (), "cloudevents", few)
    assert isinstance(found, Rejection)
    assert found.reason is Reason.TOO_LARGE


def test_binary_mode() -> None:
    headers = [(f"ce_{k}", v.encode()) for k, v in EVENT.items() if k != "data"]
    assert decode_record("cloudevents", json.dumps(DATA).encode(), [*headers, ("content-type", b"application/json")]) == [EXPECTED]
    assert decode_record("aws", json.dumps(DATA).encode(), headers) == [EXPECTED]
    (found,) = decode(b"Obj\x01", [*headers, ("content-type", b"application/avro")], "cloudevents")
    assert isinstance(found, Rejection)
    assert found.reason is Reason.NOT_SUPPORTED
    for broken in ([*headers, ("ce_id", b"2")], [h for h in headers if h[0] != "ce_id"], [("ce_id", b"\xff"), *headers[2:]]):
        (found,) = decode(json.dumps(DATA).encode(), broken, "cloudevents")
        assert isinstance(found, Rejection)
    (found,) = decode(None, headers, "cloudevents")
    assert isinstance(found, Rejection)
    assert found.reason is Reason.NOT_DECODABLE


def test_data_base64() -> None:
    event = {k: v for k, v in EVENT.items() if k != "data"}
    encoded = base64.b64encode(json.dumps(DATA).encode()).decode()
    assert decode(json.dumps({**event, "data_base64": encoded}).encode(), (), "cloudevents") == [EXPECTED]
    (found,) = decode(json.dumps({**event, "data_base64": "*"}).encode(), (), "cloudevents")
    assert isinstance(found, Rejection)
    assert found.reason is Reason.NOT_DECODABLE


def test_headers_name_backfill_and_format() -> None:
    (event,) = decode_record("aws", raw(), [("ratemill-format", b"cloudevents"), ("ratemill-backfill", b"june")])
    assert isinstance(event, UsageEvent)
    assert event.backfill == "june"
    for bad in (b"", b"\xff", b"a\nb"):
        (found,) = decode_record("aws", raw(), [("ratemill-backfill", bad)])
        assert isinstance(found, Rejection)
    assert detect("aws", b"{}", [("ratemill-format", b"usage-record")]) == "usage-record"
    (found,) = decode_record("aws", raw(), [("ratemill-format", b"nope")])
    assert isinstance(found, Rejection)
    assert found.reason is Reason.NOT_SUPPORTED


def test_other_limits_hold_on_both_ways() -> None:
    few = replace(DEFAULT_LIMITS, max_dimensions=1)
    assert decode_plain(raw()) == EXPECTED  # fills the cache of maps
    with pytest.raises(Rejection):
        decode_plain(raw(), few)
    with pytest.raises(Rejection):
        decode_plain(raw(), replace(DEFAULT_LIMITS, max_quantity_digits=2))
    with pytest.raises(Rejection):
        decode_plain(raw(), replace(DEFAULT_LIMITS, max_text_chars=6))
