"""What a request of usage comes to: which events are accepted, and the records that they become. No I/O, no clock.

    body, media type, format, whose token  ->  one result for each event, records for the raw topic

Everything that is accepted leaves in the plain form of CloudEvents (`schemas.packed.as_cloudevent`), several events of one account in one record,
so a record never holds an event that was refused, and never events of two accounts. Sending a request again makes the same events: they count once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec

from ..schemas.acceptance import check_time
from ..schemas.arrays import split_array
from ..schemas.decoders.registry import FORMATS, decode
from ..schemas.errors import Reason, Rejection
from ..schemas.limits import Limits
from ..schemas.packed import as_cloudevent
from ..schemas.usage_event import UsageEvent, identify
from .problems import Problem

__all__ = ["MEDIA_TYPES", "EventResult", "Intake", "Record", "Shape", "take"]

Shape = Literal["json", "lines"]

MEDIA_TYPES: dict[str, Shape] = {
    "application/json": "json",
    "application/cloudevents+json": "json",
    "application/cloudevents-batch+json": "json",
    "application/x-ndjson": "lines",
    "application/jsonl": "lines",
}
RECORD_BYTES = 64 << 10  # events of an account are gathered until their record is about so long
FORBIDDEN = "forbidden_account"  # the one reason that the pipeline does not know: there, nobody has a token


class EventResult(msgspec.Struct, omit_defaults=True):
    """What became of one event.

    pointer: JSON pointer (RFC 6901) to what it was read from: "" for the body, "/3" for the fourth element, or line, of it.
    """

    pointer: str
    status: Literal["accepted", "duplicate", "rejected"]
    source: str = ""
    id: str = ""
    reason: str = ""
    detail: str = ""


class Record(NamedTuple):
    """One record for the raw topic. key: the account of its events; None for what is no event."""

    key: bytes | None
    value: bytes


class Intake(NamedTuple):
    """All of a request."""

    results: list[EventResult]
    records: list[Record]

    def count(self, status: str) -> int:
        """How many events have this status."""
        return sum(result.status == status for result in self.results)


def take(
    body: bytes, shape: Shape, format: str, account: str | None, backfill: str, limits: Limits, most_events: int, now_ns: int
) -> Intake:  # fmt: skip
    """Judge every event of a body. account: the only one that may be named, None for any. backfill: name of a declared one, "" for live usage.

    Raises Problem: 400 for a body without anything in it or an unknown format, 413 for more than `most_events`.
    """
    if format not in FORMATS:
        raise Problem(400, "unknown-format", f"format {format[:60]!r} is not known; use one of {', '.join(sorted(FORMATS))}")
    headers = [("ratemill-backfill", backfill.encode())] if backfill else []
    judged = _Judged(account, limits, now_ns)
    for pointer, document, flaw in _documents(body, shape):
        if flaw:
            judged.refuse(pointer, Reason.NOT_DECODABLE, flaw)
        else:
            for entry in decode(document, headers, format, limits):
                judged.judge(pointer, entry)
        if len(judged.results) > most_events:
            raise Problem(413, "too-many-events", f"the body holds more than {most_events:,} events; send them in several requests")
    if not judged.results:
        raise Problem(400, "no-events", "the body holds no event; send a CloudEvent, an array of them, or one on each line (application/x-ndjson)")
    return Intake(judged.results, _records(judged.accepted, limits))


def _documents(body: bytes, shape: Shape) -> Iterator[tuple[str, bytes, str]]:
    """(pointer, document, flaw) of each."""
    if shape == "lines":
        for at, line in enumerate(body.splitlines()):
            if line.strip():
                yield f"/{at}", line, ""
        return
    body = body.strip()
    if body[:1] != b"[":
        if body:
            yield "", body, ""
        return
    for at, (_, element, flaw) in enumerate(split_array(body)):
        yield f"/{at}", element, flaw


class _Judged:
    """Results so far, and the texts of what was accepted, by account."""

    def __init__(self, account: str | None, limits: Limits, now_ns: int) -> None:
        self._account, self._limits, self._now_ns = account, limits, now_ns
        self._seen: dict[bytes, bytes] = {}
        self.results: list[EventResult] = []
        self.accepted: dict[str, list[bytes]] = {}

    def refuse(self, pointer: str, reason: str, detail: str, event: UsageEvent | None = None) -> None:
        source, id = (event.source, event.id) if event is not None else ("", "")
        self.results.append(EventResult(pointer, "rejected", source, id, reason, detail))

    def judge(self, pointer: str, entry: UsageEvent | Rejection) -> None:
        if isinstance(entry, Rejection):
            self.refuse(pointer, entry.reason, entry.detail)
        elif self._account is not None and entry.account != self._account:
            self.refuse(pointer, FORBIDDEN, "the token is for another account; use that account's own token, or an operator's", entry)
        elif (late := check_time(entry, self._now_ns, self._limits, True)) is not None:
            self.refuse(pointer, late.reason, late.detail, entry)
        elif len(text := as_cloudevent(entry)) > self._limits.max_record_bytes:
            self.refuse(pointer, Reason.TOO_LARGE, f"the event has {len(text)} bytes; at most {self._limits.max_record_bytes} are read", entry)
        else:
            self._accept(pointer, entry, text)

    def _accept(self, pointer: str, event: UsageEvent, text: bytes) -> None:
        identity, worth = identify(event)
        before = self._seen.get(identity)
        if before is None:
            self._seen[identity] = worth
            self.accepted.setdefault(event.account, []).append(text)
            self.results.append(EventResult(pointer, "accepted", event.source, event.id))
        elif before == worth:
            self.results.append(EventResult(pointer, "duplicate", event.source, event.id))
        else:
            self.refuse(pointer, Reason.CONFLICT, "this id stands before, with other content; the first one was taken", event)


def _records(accepted: dict[str, list[bytes]], limits: Limits) -> list[Record]:
    most_bytes = min(RECORD_BYTES, limits.max_record_bytes)
    records = []
    for account, texts in accepted.items():
        key = account.encode()
        open_: list[bytes] = []
        size = 2  # the brackets
        for text in texts:
            if open_ and (size + len(text) > most_bytes or len(open_) == limits.max_events_per_record):
                records.append(_record(key, open_))
                open_, size = [], 2
            open_.append(text)
            size += len(text) + 1
        records.append(_record(key, open_))
    return records


def _record(key: bytes, texts: list[bytes]) -> Record:
    """One event by itself: workers read that fastest. Several as a JSON array."""
    return Record(key, texts[0] if len(texts) == 1 else b"[" + b",".join(texts) + b"]")
