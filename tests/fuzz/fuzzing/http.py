"""The body of `POST /v1/events`: from the bytes of a request to the records that it becomes, and on through a lane."""

from __future__ import annotations

import gzip
import random
import re
from typing import Any, NamedTuple

import cramjam
import msgspec
from ratemill.api.bodies import unpack
from ratemill.api.intake import MEDIA_TYPES, Intake, take
from ratemill.api.problems import Problem
from ratemill.schemas.acceptance import check_time
from ratemill.schemas.decoders import FORMATS, decode
from ratemill.schemas.limits import DEFAULT_LIMITS
from ratemill.schemas.usage_event import UsageEvent, identify

from .checks import NOW, Record, conserve, context_of, want
from .mutate import change_bytes
from .targets import Target, make_record, packed_input, rates, unpacked_input

__all__ = ["http_targets"]

MOST = 2 << 20  # of a body, unpacked
MOST_EVENTS = 5_000
STRANGER = "an account that no input names"
_POINTER = re.compile(r"(/[0-9]+)?")
_CONTEXT = context_of("cloudevents", False)


class Asked(NamedTuple):
    """What a request says beside its body."""

    shape: Any
    format: str
    encoding: str
    backfill: str


def _make(dice: random.Random) -> bytes:
    format = dice.choice([*sorted(FORMATS), "cloudevents", "cloudevents", "no-such-format"])
    body, _ = unpacked_input(make_record(dice, format if format in FORMATS else "cloudevents"))
    encoding = dice.choice(["", "", "gzip", "zstd", "GZIP ", "br"])
    if "zip" in encoding.lower():
        body = gzip.compress(body, 1)
    elif encoding == "zstd":
        body = bytes(cramjam.zstd.compress(body))
    if encoding and dice.random() < 0.2:
        body = change_bytes(dice, body)
    if dice.random() < 0.002:
        body, encoding = gzip.compress(b"[" + b" " * dice.choice([MOST, 50 * MOST])), "gzip"
    asked = {"shape": dice.choice(sorted(set(MEDIA_TYPES.values()))), "format": format, "encoding": encoding, "backfill": dice.choice(["", "b", "b"])}
    return packed_input(body, [(name, value.encode()) for name, value in asked.items()])


def _check(data: bytes) -> None:
    body, headers = unpacked_input(data)
    said = {name: (value or b"").decode(errors="replace") for name, value in headers}
    shape = "lines" if said.get("shape") == "lines" else "json"
    asked = Asked(shape, said.get("format", "cloudevents"), said.get("encoding", ""), "b" if said.get("backfill") else "")
    try:
        value = unpack(body, asked.encoding, MOST)
        want(len(value) <= MOST, "more was unpacked than is allowed")
        found = _taken(value, asked, None)
    except Problem as problem:
        in_words = problem.status in (400, 413, 415) and problem.detail and "\n" not in problem.detail
        want(in_words, f"refused with {problem.status}: {problem.detail!r}")
        return
    events = check_intake(found, asked.backfill)
    again = _taken(value, asked, None)
    want(again == found, "the same request comes to something else the second time")
    if events:
        own = _taken(value, asked, events[0].account)
        passed = {event.account for event in check_intake(own, asked.backfill)} | {r.key for r in _taken(value, asked, STRANGER).records}
        want(passed == {events[0].account}, "an account's token lets the usage of another one through")
        mine = [event for event in events if event.account == events[0].account]
        want(len(mine) == own.count("accepted"), "usage of an account depends on what else is in the request")
    _through_a_lane(found, asked.backfill)


def _taken(value: bytes, asked: Asked, account: str | None) -> Intake:
    return take(value, asked.shape, asked.format, account, asked.backfill, DEFAULT_LIMITS, MOST_EVENTS, NOW)


def _headers(backfill: str) -> list[tuple[str, bytes]]:
    return [("ratemill-backfill", backfill.encode())] if backfill else []


def check_intake(found: Intake, backfill: str) -> list[UsageEvent]:
    """Every event has one result, and the records hold what was accepted, all of it, once, and nothing else. Returns these events."""
    for result in found.results:
        want(_POINTER.fullmatch(result.pointer), f"{result.pointer!r} is no pointer to an element")
        rejected = result.status == "rejected"
        want(rejected == bool(result.reason) == bool(result.detail) and "\n" not in result.detail, f"a result says too little or too much: {result}")
    events: list[UsageEvent] = []
    for record in found.records:
        want(len(record.value) <= DEFAULT_LIMITS.max_record_bytes, "a record is larger than workers read")
        for entry in decode(record.value, _headers(backfill), "cloudevents"):
            if not isinstance(entry, UsageEvent):
                raise AssertionError(f"accepted, and then a dead letter: {entry}")
            want(entry.account.encode() == record.key, "a record holds another account than its key")
            want(check_time(entry, NOW, DEFAULT_LIMITS, True) is None, "an event out of time was accepted")
            events.append(entry)
    want(len({identify(event)[0] for event in events}) == len(events) == found.count("accepted"), "accepted is not what the records hold")
    return events


def _through_a_lane(found: Intake, backfill: str) -> None:
    for record in found.records[:3]:
        count = len(msgspec.json.decode(record.value)) if record.value[:1] == b"[" else 1
        conserve(_CONTEXT, Record(7, 0, record.key, record.value, tuple(_headers(backfill))), count, None, rates())


def http_targets() -> list[Target]:
    """One: the endpoint for usage."""
    return [Target("http-events", _make, _check, 8)]
