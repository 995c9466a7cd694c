"""Whatever the bytes, decoding returns a list of events and rejections, and every event can be hashed and encoded."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ratemill.schemas.decoders import FORMATS, decode, decode_record
from ratemill.schemas.errors import Rejection
from ratemill.schemas.limits import DEFAULT_LIMITS
from ratemill.schemas.usage_event import UsageEvent, identify

EXAMPLES = sorted((Path(__file__).parents[2] / "data" / "provider_events").glob("*.json"))
HEADERS = st.lists(
    st.tuples(st.sampled_from(["content-type", "ce_id", "ce_source", "ce_specversion", "ratemill-backfill", "x"]), st.binary(max_size=30)), max_size=4
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "\0", "1e400", "2026-07-16T14:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def check(found: list[UsageEvent | Rejection]) -> None:
    assert found
    for entry in found:
        if isinstance(entry, Rejection):
            assert entry.detail
            assert "\n" not in entry.detail
            entry.detail.encode()
        else:
            assert all((entry.account, entry.source, entry.id, entry.sku, entry.unit))
            texts = (entry.account, entry.source, entry.id, entry.sku, entry.unit, entry.provider, entry.region, entry.resource)
            assert all(len(text) <= DEFAULT_LIMITS.max_text_chars for text in texts)
            assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for text in texts for c in text)
            assert entry.quantity.is_finite()
            identify(entry)
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=UsageEvent) == entry


@given(st.sampled_from(sorted(FORMATS)), st.none() | st.binary(), HEADERS)
def test_any_bytes(format: str, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    check(decode(value, headers, format))
    check(decode_record("aws", value, headers))


def paths(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [at, *(path for key, item in inner for path in paths(item, (*at, key)))]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_examples_with_one_thing_changed(example: Path, data: st.DataObject) -> None:
    document = json.loads(example.read_bytes())
    path = data.draw(st.sampled_from(paths(document)[1:]))
    place = document
    for step in path[:-1]:
        place = place[step]
    if data.draw(st.booleans()):
        place[path[-1]] = data.draw(VALUES)
    else:
        del place[path[-1]]
    value = json.dumps(document).encode()
    check(decode_record(example.name.split("_")[0], value, ()))
    for format in FORMATS:
        check(decode(value, (), format))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_with_flipped_bytes(example: Path) -> None:
    original = example.read_bytes()
    dice = random.Random(example.name)
    for _ in range(60):
        value = bytearray(original)
        for _ in range(dice.randint(1, 3)):
            value[dice.randrange(len(value))] = dice.randrange(256)
        check(decode_record(example.name.split("_")[0], bytes(value), ()))
        check(decode_record("cloudevents", bytes(value[: dice.randrange(len(value))]), ()))
