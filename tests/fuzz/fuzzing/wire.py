"""Targets for what Ratemill itself writes to topics and to its store, and reads back: packed events, requests, dead letters, state."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import msgspec
from aiokafka import TopicPartition
from ratemill.metering.samples import Sample, decode_sample, encode_sample
from ratemill.pricing.money import money
from ratemill.schemas.control import Amend, BackfillOpen, Close, Origin, Receipt, Rerate, decode_control, encode_control
from ratemill.schemas.dead_letter import DeadLetter, from_kafka, to_kafka
from ratemill.schemas.decoders import decode
from ratemill.schemas.errors import BadInput, RatemillError, Reason
from ratemill.schemas.packed import pack, unpack
from ratemill.schemas.usage_event import UsageEvent
from ratemill.sinks.documents import encode, read_items
from ratemill.sinks.templates import Names
from ratemill.streams.control_topic import Controls
from ratemill.streams.core.groups import Group
from ratemill.streams.core.items import GroupKey, entry_key
from ratemill.streams.core.state import PartitionState, Settings
from ratemill.streams.core.store import MemoryStore, pack_ids, unpack_ids
from ratemill.streams.lanes.base import Batch
from ratemill.streams.lanes.rate import RateLane
from ratemill.streams.prices_topic import Books, InForce, PublishedBook
from ratemill.streams.progress import Counters, Progress, decode_progress, encode_progress

from .checks import Record, check_letter, context_of, rate, want
from .mutate import TEXTS, change_bytes
from .targets import HEADERS, PRICES, Target, examples, packed_input, rates, unpacked_input

__all__ = ["wire_targets"]

_ID = "0123456789abcdef" * 2
_msgpack = msgspec.msgpack.Encoder().encode


@lru_cache(maxsize=1)
def _events() -> list[UsageEvent]:
    return [
        entry for name, texts in examples().items() for text in texts for entry in decode(text.encode(), (), name) if isinstance(entry, UsageEvent)
    ]


# -- packed events -------------------------------------------------------------------------------------------------------------

_ODD = [
    None,
    "",
    "a\0b",
    "\x85",
    "x" * 1025,
    -1,
    1 << 63,
    1 << 70,
    1.5,
    float("nan"),
    "NaN",
    "Infinity",
    "sNaN",
    "1E+999999",
    "1E-999999",
    "9" * 70,
    b"\xff",
    [],
    {},
    "{",
    "{ }",
]


def _make_packed(dice: random.Random) -> bytes:
    events = [dice.choice(_events()) for _ in range(dice.choice([1, 1, 2, 5]))]
    value = pack("usage.raw.aws", 1, list(range(len(events))), [0] * len(events), events)
    if dice.random() < 0.5:
        return change_bytes(dice, value)
    # Well-formed MessagePack that says something else.
    found: list[Any] = msgspec.msgpack.decode(value)
    node: list[Any] = found
    while dice.random() < 0.8 and any(isinstance(item, list) and item for item in node):
        node = dice.choice([item for item in node if isinstance(item, list) and item])
    node[dice.randrange(len(node))] = dice.choice([*_ODD, *TEXTS[:8]])
    try:
        return _msgpack(found)
    except (OverflowError, UnicodeEncodeError):
        return value


def _check_packed(data: bytes) -> None:
    context = context_of_packed()
    record = Record(3, 0, None, data, ())
    batch = Batch(1, 1, TopicPartition("usage.events", 0), [record])  # type: ignore[arg-type]
    decoded = RateLane._unpacked(SimpleNamespace(context=context), batch)  # type: ignore[arg-type]
    if decoded.dead:
        want(len(decoded.dead) == 1 and not decoded.events, "a refused record counts in part")
        check_letter(decoded.dead[0])
        return
    packed = unpack(data)
    want(unpack(pack(packed.topic, packed.partition, packed.offsets, packed.indexes, packed.events)) == packed, "packed events come back as others")
    state = PartitionState(MemoryStore(), rates(), Settings())
    added = state.add(decoded.events)
    want(added.counted + added.duplicates + len(added.conflicts) + len(added.rejected) == len(decoded.events), "received is not what became of it")
    for at, rejection in added.rejected:
        check_letter(decoded.letter(at, rejection))
    rate(state)


@lru_cache(maxsize=1)
def context_of_packed() -> Any:
    return context_of("aws", False)


# -- requests, receipts, price books -------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _requests() -> list[bytes]:
    base = {"id": _ID, "author": "ann", "reason": "why not", "at_ns": 1}
    event = _events()[0]
    records = [
        Close(period="2026-07", **base), Rerate(account="a", sku="s", period="2026-07", **base), BackfillOpen(name="b", from_ns=0, to_ns=9, **base),
        Amend(original=event, origin=Origin("t", 0, 1, 2), replacement=msgspec.structs.replace(event, quantity=Decimal("1.5")), **base),
        Receipt(control_id=_ID, partition=0, outcome="done", next_offsets={"t": 3}, book="", closed_through=0, revision=1, at_ns=2,
        counts={"groups": 4}),
    ]  # fmt: skip
    return [encode_control(record) for record in records]  # type: ignore[arg-type]


class _Log:
    def error(self, *_: object, **__: object) -> None:
        """Refusals of records are logged; here they are expected."""


def _check_control(data: bytes) -> None:
    try:
        record = decode_control(data)
    except BadInput as error:
        want("\n" not in str(error), "more than a line")
    else:
        want(decode_control(encode_control(record)) == record, "a request comes back as another one")
    controls = Controls.__new__(Controls)
    controls.__dict__.update(_requests=[], _places={}, _receipts={}, _log=_Log(), _topic="t", changed=SimpleNamespace(set=lambda: None))
    controls.take(0, data)


def _check_published(data: bytes) -> None:
    books = Books.__new__(Books)
    books.__dict__.update(_parsed={}, _log=_Log(), _topic="t", _in_force=_NOTHING)
    books._take(b"key", data)


_NOTHING = InForce()
_BOOK = msgspec.json.encode(PublishedBook(PRICES, "book.yaml", "ann", "why", 1))


# -- dead letters --------------------------------------------------------------------------------------------------------------


def _make_letter(dice: random.Random) -> bytes:
    headers = [dice.choice(HEADERS) for _ in range(dice.choice([0, 1, 3, 101, 300]))]
    letter = DeadLetter(
        dice.choice(list(Reason)), dice.choice(["why", *TEXTS]), dice.choice(["t", *TEXTS]), dice.choice([0, -1, 1 << 40]), 5,
        dice.choice([-1, 0, 7]),
        dice.choice([None, b"", b"x"]), 9, dice.choice(["", *TEXTS]), dice.choice([None, b"", b"k"]), tuple(headers), dice.choice([0, 5]),
    )  # fmt: skip
    _, value, raw = to_kafka(letter)
    found = [(name, content) for name, content in raw if dice.random() > 0.01]
    if found and dice.random() < 0.5:
        at = dice.randrange(len(found))
        name, content = found[at]
        found[at] = name, dice.choice([None, b"", b"-", b"\xff", "\u0663".encode(), b"9" * 30, change_bytes(dice, content or b"x")])
    try:
        return packed_input(value or b"", found)
    except UnicodeEncodeError:
        return b""


def _check_letter(data: bytes) -> None:
    value, headers = unpacked_input(data)
    try:
        letter = from_kafka(None, value, headers)
    except BadInput as error:
        want("\n" not in str(error), "more than a line")
        return
    want(from_kafka(*to_kafka(letter)) == letter, "a dead letter comes back as another one")


# -- state ---------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _state() -> list[bytes]:
    progress = Progress("rate-0", 7, {"t": 5}, {"t": Counters(9, 7, 1, 1)}, "ab" * 32, "", "00ff", {"groups": 3}, 2, 24_318, 24_300, "cd" * 32)
    key, value = encode_sample(Sample(5, "s", "i", Decimal("1.5"), "x", "aws"))
    return [b"p" + encode_progress(progress), b"i" + pack_ids({b"0" * 16: b"1" * 8, b"2" * 16: b"3" * 8}), b"s" + len(key).to_bytes(2,
    "big") + key + value,
            b"e" + b"12.5\0aws", b"e" + b"-3\0"]  # fmt: skip


_GROUP = GroupKey("acct", "db.ram", "GB-hours", 24_318)
_ENTRY = entry_key(1_784_210_400, "eu", "i-1", "")


def _check_state(data: bytes) -> None:
    """Damaged state is refused with an error of ours, in a line; whatever is read is what would be written."""
    kind, rest = data[:1], data[1:]
    try:
        if kind == b"p":
            progress = decode_progress(rest)
            want(decode_progress(encode_progress(progress)) == progress, "progress comes back as another one")
        elif kind == b"i":
            ids = dict(unpack_ids(rest))
            want(all(len(identity) == 16 and len(print_) == 8 for identity, print_ in ids.items()), "half an identity was read")
        elif kind == b"s":
            size = int.from_bytes(rest[:2], "big")
            sample = decode_sample(rest[2 : 2 + size], rest[2 + size :])
            want(money(str(sample.quantity)) == sample.quantity, "a sample that is no number")
        elif rest:
            group = Group(_GROUP, rates()).load([(_ENTRY, rest)])
            group.line_items()
    except RatemillError as error:
        want(str(error) and "\n" not in str(error), "not one line")


# -- line items ----------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _line_items() -> list[bytes]:
    state = PartitionState(MemoryStore(), rates(), Settings())
    state.add(_events()[:20])
    return [value for _, value in state.seal(1_784_210_400, 1).line_items]


def _check_line_items(data: bytes) -> None:
    entries, refused, superseded = read_items([data])
    want(len(entries) + len(refused) + superseded == 1, "a line item is neither sent nor refused")
    for entry in entries:
        written = encode(entry, Names("ratemill"))
        want(written.count(b"\n") == 2 and isinstance(msgspec.json.decode(written.split(b"\n")[0]), dict), "not two lines of NDJSON")


def wire_targets() -> Sequence[Target]:
    """What stands on our own topics and in our own store."""

    def bytes_of(choices: Any) -> Any:
        return lambda dice: change_bytes(dice, dice.choice(choices()), choices())

    return [
        Target("packed", _make_packed, _check_packed, 6),
        Target("control", bytes_of(_requests), _check_control, 4),
        Target("published-book", lambda dice: change_bytes(dice, _BOOK), _check_published, 2),
        Target("dead-letter", _make_letter, _check_letter, 4),
        Target("state", bytes_of(_state), _check_state, 4),
        Target("line-item", bytes_of(_line_items), _check_line_items, 4),
    ]
