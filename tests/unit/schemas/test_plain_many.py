"""The batch decoder of plain CloudEvents says what the careful one says, or nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.schemas.decoders.cloudevents import decode_plain, decode_plain_many
from ratemill.schemas.errors import Rejection
from ratemill.schemas.usage_event import UsageEvent

EVENT = {
    "specversion": "1.0", "type": "t", "source": "s", "id": "1", "subject": "a", "time": "2026-01-02T03:04:05Z",
    "data": {"sku": "k", "quantity": "1.5", "unit": "u"},
}  # fmt: skip


def encoded(**changes: object) -> bytes:
    event = {**EVENT, **{k: v for k, v in changes.items() if k in EVENT or k == "extra"}}
    data = {**EVENT["data"], **{k: v for k, v in changes.items() if k not in EVENT and k != "extra"}}  # type: ignore[dict-item]
    return json.dumps({**event, "data": data}, ensure_ascii=False).encode()


texts = st.one_of(st.text(max_size=6), st.sampled_from(["", "a", "é", "\u0085", "\x7f", "a\\b", 'q"', "x" * 1025]))
values = st.fixed_dictionaries(
    {},
    optional={
        "id": texts, "source": texts, "subject": texts, "type": texts, "sku": texts, "unit": texts, "region": texts, "provider": texts,
        "resource": texts, "extra": texts,
        "time": st.sampled_from(["2026-01-02T03:04:05.123Z", "2026-01-02T03:04:05+01:00", "2026-13-01T00:00:00Z", ""]),
        "quantity": st.one_of(st.integers(-5, 5), st.sampled_from(["1e400", "NaN", "-0", "1E3", "007", "9" * 61, "0.10", ""])),
        "dimensions": st.just({"a": "b"}), "tags": st.just({}), "specversion": st.sampled_from(["1.0", "0.3"]),
    },
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(st.one_of(values.map(lambda v: encoded(**v)), st.binary(max_size=30), st.none()), max_size=5))
def test_what_it_accepts_the_careful_decoder_accepts_with_the_same_result(records: list[bytes | None]) -> None:
    """Never another event, never an event where the careful decoder refuses."""
    found = decode_plain_many(records)
    assert len(found) == len(records)
    for record, event in zip(records, found, strict=True):
        if event is not None:
            assert record is not None
            assert event == decode_plain(record)


def test_the_usual_event_takes_the_fast_way() -> None:
    """Else the fast way would be of no use, and the test above would pass all the same."""
    assert isinstance(decode_plain_many([encoded(region="eu", quantity=3)])[0], UsageEvent)


def test_it_leaves_the_answer_to_the_careful_decoder() -> None:
    """A wrong event is not rejected here: the precise reason comes from one place."""
    assert decode_plain_many([b'{"bad', encoded(quantity="NaN")]) == [None, None]
    with pytest.raises(Rejection):
        decode_plain(encoded(quantity="NaN"))
