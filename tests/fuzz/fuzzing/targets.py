"""The targets: for each reader of foreign input, how to make inputs that are almost right, and what must hold of what it makes of them.

A new reader (an HTTP endpoint, another format) is one more `Target` in `TARGETS`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from ratemill.metering.tariff import parse_tariff
from ratemill.schemas.decoders import FORMATS, decode, decode_plain, decode_record
from ratemill.schemas.decoders.cloudevents import decode_plain_many
from ratemill.schemas.errors import Rejection
from ratemill.schemas.limits import DEFAULT_LIMITS, Limits
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.core.segments import Rates

from .checks import Record, check_entries, conserve, context_of, expected_entries, want
from .mutate import RARE, as_json, change_bytes, change_document

__all__ = ["ROOT", "Target", "examples", "make_record", "packed_input", "rates", "record_targets", "unpacked_input"]

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "provider_events"
Headers = list[tuple[str, bytes | None]]


class Target(NamedTuple):
    """A reader under test. make: an input from a seeded generator; check: raises whatever is wrong. weight: its share of the inputs."""

    name: str
    make: Callable[[random.Random], bytes]
    check: Callable[[bytes], None]
    weight: int = 4


# -- inputs with Kafka headers ------------------------------------------------------------------------------------------------

_FRAME = b"\xc1"  # begins neither UTF-8 nor MessagePack
_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(Headers).decode


def packed_input(value: bytes, headers: Headers) -> bytes:
    """One input of a value and headers: what is saved of a failure, and what the corpus holds."""
    if not headers and value[:1] != _FRAME:
        return value
    head = _encode_headers(headers)
    return _FRAME + len(head).to_bytes(4, "big") + head + value


def unpacked_input(data: bytes) -> tuple[bytes, Headers]:
    """Inverse of `packed_input`; anything else is a value without headers."""
    if data[:1] == _FRAME:
        size = int.from_bytes(data[1:5], "big")
        try:
            return data[5 + size :], _decode_headers(data[5 : 5 + size])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
    return data, []


# -- examples -----------------------------------------------------------------------------------------------------------------

PLAIN = {
    "specversion": "1.0", "id": "evt-000001", "source": "/collectors/eu-1", "type": "com.example.usage", "subject": "acct-42",
    "time": "2026-07-16T13:00:07Z",
    "data": {"sku": "db.ram", "quantity": "4.25", "unit": "GB-hours", "provider": "aws", "region": "eu-west-1", "resource": "i-12345",
             "dimensions": {"tier": "hot"}, "tags": {"team": "search"}},
}  # fmt: skip
METERED = {**PLAIN, "data": {"sku": "api", "quantity": 3, "unit": "calls", "dimensions": {"code": "200", "ms": "12.5", "user": "u1"}}}


def _documented() -> dict[str, list[Any]]:
    """The example of each format in docs/inputs.md."""
    found: dict[str, list[Any]] = {}
    for part in (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        name = part.split("\n", 1)[0].split(":")[0].strip()
        if name in FORMATS:
            found[name] = [json.loads(example.split("\n```")[0]) for example in part.split("```json\n")[1:]]
    return found


@lru_cache(maxsize=1)
def examples() -> dict[str, list[str]]:
    """Documents by format, as JSON: those of the documentation, and the real ones that the format reads."""
    found = {name: [json.dumps(example) for example in its] for name, its in _documented().items()}
    for path in sorted(DATA.glob("*.json")):
        value = path.read_bytes()
        for name in FORMATS:
            if any(isinstance(entry, UsageEvent) for entry in decode(value, (), name)):
                found.setdefault(name, []).append(json.dumps(json.loads(value)))
    for name in ("cloudevents", "azure-event-grid"):
        found.setdefault(name, []).extend([json.dumps(PLAIN), json.dumps(METERED), json.dumps([PLAIN, METERED])])
    return found


HEADERS: list[tuple[str, bytes | None]] = [
    ("content-type", b"application/cloudevents+json"), ("content-type", b"application/json"), ("content-type", b"application/cloudevents+avro"),
    ("Content-Type", b"\xff"), ("content-type", None), ("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"s"), ("ce_type", b"t"),
    ("ce_subject", b"a"), ("ce_time", b"2026-07-16T14:00:00Z"), ("ce_time", b"nonsense"), ("ce_id", b"\xff"), ("ce_id", None), ("ce_data", b"{}"),
    ("ratemill-format", b"cloudevents"), ("ratemill-format", b"no-such"), ("ratemill-format", None), ("ratemill-format", b"\xff\xff"),
    ("ratemill-backfill", b"name"), ("ratemill-backfill", b""), ("ratemill-backfill", None), ("ratemill-backfill", b"\x00"), ("", b""),
    ("x", b"y" * 300),
]  # fmt: skip
BINARY = [header for header in HEADERS if header[0].startswith("ce_") and header[1] not in (None, b"nonsense", b"\xff", b"{}")]


def make_record(dice: random.Random, name: str) -> bytes:
    """A record of a format: a real document with changes in what it says or in its bytes, alone, in an array or in lines; and headers."""
    known = examples()
    text = dice.choice(known[name] if dice.random() < 0.9 else known[dice.choice(sorted(known))])
    kind, headers = dice.random(), Headers()
    if kind < 0.55:
        value = change_document(dice, json.loads(text), dice.choice([1, 1, 2, 4]))
    elif kind < 0.8:
        value = change_bytes(dice, text.encode(), [dice.choice(its).encode() for its in known.values()])
    elif kind < 0.95:
        count = dice.choice([0, 1, 2, 5, 30]) if dice.random() > RARE * 5 else dice.choice([300, 3_000])
        documents = [json.loads(text) for _ in range(count)] if count < 50 else [json.loads(text)] * count
        if dice.random() < 0.5:
            value = change_document(dice, documents, dice.choice([0, 1, 3]))
        else:
            value = b"\n".join(as_json(dice, d) if dice.random() < 0.7 else change_bytes(dice, json.dumps(d).encode()) for d in documents[:300])
    else:
        value = dice.choice(
            [b"", b" ", b"{}", b"[]", b"null", b"\xef\xbb\xbf" + text.encode(), dice.randbytes(dice.choice([1, 20, 200])), text.encode("utf-16")]
        )
    if dice.random() < 0.2:
        headers = [dice.choice(HEADERS) for _ in range(dice.choice([1, 2, 5]))]
        if dice.random() < 0.3:
            headers = BINARY + headers[:1]
            value = json.dumps(PLAIN["data"]).encode() if dice.random() < 0.5 else value
        if dice.random() < RARE * 5:
            headers += [("x", b"z" * dice.choice([10, 1_000]))] * dice.choice([99, 101, 2_000])
    if dice.random() < 0.3:
        headers.append(("ratemill-format", name.encode()))
    return packed_input(value, headers)


# -- records -------------------------------------------------------------------------------------------------------------------

PRICES = """
currency: USD
prices:
  - {id: ram, sku: db.ram, unit: GB-hours, model: graduated, tiers: [{up_to: "3", unit_price: "2"}, {unit_price: "1"}]}
  - {id: calls, sku: api.calls, unit: calls, model: package, package_size: "10", package_price: "1.5"}
  - {id: users, sku: api.users, unit: users, model: unit, unit_price: "0.1"}
meters:
  - {id: calls, event: api, sku: api.calls, unit: calls, quantity: 'number(dimensions.ms) / 3', digits: 6, aggregation: sum, group_by: [region]}
  - {id: users, event: api, sku: api.users, unit: users, unique: dimensions.user, aggregation: unique, window: day, filter: 'has(dimensions.code)'}
"""


@lru_cache(maxsize=1)
def rates() -> Rates:
    """One tariff with prices, meters that add up, and meters that keep samples."""
    tariff = parse_tariff(PRICES, "fuzz.yaml")
    return Rates(tariff.book, 3_600, tariff.meters, tariff.digest)


@lru_cache(maxsize=16)
def _context(provider: str, keyed: bool) -> Any:
    return context_of(provider, keyed)


def _check_record(name: str, data: bytes) -> None:
    value, headers = unpacked_input(data)
    entries = decode(value, headers, name)
    check_entries(entries)
    expected = expected_entries(name, value, headers)
    if expected is not None and not (len(entries) == 1 and isinstance(entries[0], Rejection)):
        want(len(entries) == expected, f"{expected} events in the record, and {len(entries)} entries")
    provider = name.split("-")[0] if name.split("-")[0] in ("aws", "gcp", "azure") else "cloudevents"
    found = decode_record(provider, value, headers)
    check_entries(found)
    keyed = len(data) % 2 == 1  # by turns: both ways read alike
    conserve(_context(provider, keyed), Record(7, 0, b"k", value, tuple(headers)), len(found), 0 if keyed else None, rates())


def _check_plain(data: bytes) -> None:
    """The three ways of reading the plain form give the same event, or the same refusal."""
    value, _ = unpacked_input(data)
    if len(value) > DEFAULT_LIMITS.max_record_bytes or not value:
        return
    many = decode_plain_many([value, None, value])
    want(many[1] is None and many[0] == many[2], "a batch of the plain form depends on its neighbours")
    slow = Limits(max_quantity_digits=DEFAULT_LIMITS.max_quantity_digits - 1)  # other digits than usual: the careful way
    answers: list[UsageEvent | str] = []
    for its in (DEFAULT_LIMITS, slow):
        try:
            answers.append(decode_plain(value, its))
        except Rejection as rejection:
            answers.append(str(rejection))
    event = answers[0]
    if isinstance(event, UsageEvent):
        check_entries([event])
        digits = len(event.quantity.as_tuple().digits)
        want(answers[1] == event or digits >= 59 or abs(event.quantity.adjusted()) >= 59, "the fast and the careful way disagree")
    else:
        want(not isinstance(answers[1], UsageEvent), "the careful way accepts what the fast way refuses")
    want(many[0] is None or many[0] == event, "the way for many accepts what the way for one refuses, or as another event")


def record_targets() -> Sequence[Target]:
    """One for each decoder of the registry, and the short ways of the plain form."""

    def target(name: str) -> Target:
        return Target(f"format-{name}", lambda dice: make_record(dice, name), lambda data: _check_record(name, data))

    return [*(target(name) for name in sorted(FORMATS)), Target("plain-form", lambda dice: make_record(dice, "cloudevents"), _check_plain, 8)]
