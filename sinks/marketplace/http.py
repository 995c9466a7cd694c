"""Requests and answers as values: marketplaces are told apart by functions that make the one and read the other, without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...pricing.money import money
from .listings import Listing
from .records import Outcome, Record, Verdict

__all__ = ["Answer", "Marketplace", "Request", "for_all", "json_of", "read_json", "trouble"]


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be sent, without credentials: those are added last, and shown nowhere."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. status 0: nothing did; detail says why. unsent: there was no connection, so that surely nothing arrived either."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""
    unsent: bool = False


class Marketplace(Protocol):
    """One kind of marketplace."""

    def request(self, listing: Listing, batch: Sequence[Record]) -> Request:
        """The request that reports records; the same records give the same bytes."""

    def verdicts(self, answer: Answer, batch: Sequence[Record]) -> dict[str, Verdict]:
        """What an answer says of each record, by id. Never raises: what cannot be understood is a doubt."""


def for_all(batch: Sequence[Record], verdict: Verdict) -> dict[str, Verdict]:
    """The same for every record."""
    return {record.id: verdict for record in batch}


def read_json(answer: Answer) -> dict[str, Any] | None:
    """The body, or None where it is no JSON object. Numbers with a point are exact decimals."""
    try:
        found = json.loads(answer.body, parse_float=money)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def json_of(answer: Answer) -> dict[str, Any]:
    """The body, or nothing where it is no JSON object."""
    return read_json(answer) or {}


def trouble(answer: Answer, said: str = "") -> Verdict | None:
    """What holds for every marketplace: no answer, an overload, a failure on its side, our credentials. None: nothing of these."""
    status = answer.status
    if answer.unsent:
        return Verdict(Outcome.NOT_NOW, answer.detail)
    if status == 0:
        return Verdict(Outcome.DOUBT, answer.detail or "no answer")
    if status == 429:
        return Verdict(Outcome.NOT_NOW, "it asks for a pause (429)", wait_s=_pause(answer))
    if status in (401, 403):
        return Verdict(Outcome.NOT_NOW, f"it refuses our credentials ({status}) {said}".rstrip(), wait_s=60)
    if status >= 500 or status == 408:
        return Verdict(Outcome.DOUBT, f"answered {status} {said}".rstrip(), wait_s=_pause(answer))
    return None


def _pause(answer: Answer) -> int:
    given = next((value for name, value in answer.headers.items() if name.lower() == "retry-after"), "")
    return min(int(given), 3_600) if given.isdecimal() and len(given) < 8 else 0
