"""What the answer to a bulk request means, item by item: done, already there, to be retried, or refused for good.

The rule: an item goes to the dead letters only when Elasticsearch says that this very document is wrong. What is wrong with
the cluster, the index, the credentials or the way there passes (or a person repairs it), and is retried until it does.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from elasticsearch import ApiError, TransportError
from elasticsearch.exceptions import ConnectionTimeout, SerializationError, SSLError, UnsupportedProductError

from .access import tls_trouble
from .documents import Entry, Refused

__all__ = ["Outcome", "describe", "error_type", "judge", "splits"]

# Statuses below 500 that say nothing about the document: credentials, index missing or blocked, timeout, overload.
_RETRIED_STATUSES = frozenset({401, 403, 404, 408, 429})
# Error types that come with status 400 and are about the index or the server all the same.
_RETRIED_TYPES = frozenset({
    "index_closed_exception", "cluster_block_exception", "circuit_breaking_exception", "media_type_header_exception",
    "validation_exception",  # the cluster's limit of shards
})  # fmt: skip


@dataclass
class Outcome:
    """The entries of one bulk request, sorted by what became of them."""

    indexed: int = 0
    already_there: int = 0
    retry: list[Entry] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    kind: str = ""  # of the last failure that is retried; a label, so one of a few words
    detail: str = ""
    index_missing: bool = False

    def again(self, entries: Sequence[Entry], kind: str, detail: str) -> None:
        self.retry.extend(entries)
        self.kind, self.detail = kind, detail


def judge(entries: Sequence[Entry], answer: Any) -> Outcome:
    """Match an answer (its JSON) to the entries by position, checking every _id.

    An answer that does not fit the request leaves the outcome unknown: everything is retried, which external versions make safe.
    """
    outcome = Outcome()
    results = answer.get("items") if isinstance(answer, dict) else None
    if not isinstance(results, list) or len(results) != len(entries):
        outcome.again(entries, "bad_answer", "the answer to a bulk request does not have one result per item")
        return outcome
    for entry, result in zip(entries, results, strict=True):
        details = result.get("index") if isinstance(result, dict) else None
        if not isinstance(details, dict) or details.get("_id") != entry.id:
            outcome = Outcome()
            outcome.again(entries, "bad_answer", f"the answer to a bulk request names another item than {entry.id!r}")
            return outcome
        _judge_one(entry, details, outcome)
    return outcome


def _judge_one(entry: Entry, details: dict[str, Any], outcome: Outcome) -> None:
    status = details.get("status")
    error = details.get("error")
    error = error if isinstance(error, dict) else {}
    kind = str(error.get("type", ""))
    if status in (200, 201):
        outcome.indexed += 1
    elif status == 409:
        outcome.already_there += 1
    elif not isinstance(status, int) or status >= 500 or status in _RETRIED_STATUSES or kind in _RETRIED_TYPES:
        outcome.again([entry], f"item_{status}", _reason(error) or f"status {status}")
        outcome.index_missing |= status == 404
    else:
        outcome.refused.append(entry.refused(status, _reason(error) or f"status {status}"))


def _reason(error: dict[str, Any]) -> str:
    """`type: reason: cause` in one line of bounded length; the cause is where Elasticsearch says what is wrong."""
    parts: list[str] = []
    for _ in range(3):
        parts += [str(error[key])[:300] for key in ("type", "reason") if error.get(key)]
        error = error.get("caused_by") or {}
        if not isinstance(error, dict):
            break
    return " ".join(": ".join(parts).split())[:1000]


def error_type(error: ApiError) -> str:
    """The `type` that an error's body names, or an empty string."""
    body = error.body.get("error") if isinstance(error.body, dict) else None
    return str(body.get("type", "")) if isinstance(body, dict) else ""


def splits(error: Exception) -> bool:
    """Whether a failed request is worth halving: it is too large (413), or something within it makes all of it invalid (400)."""
    if not isinstance(error, ApiError):
        return False
    # A 400 that is not in Elasticsearch's words comes from something in between and says nothing about the items.
    return error.status_code == 413 or (error.status_code == 400 and error_type(error) not in {"", *_RETRIED_TYPES})


_REFUSED = {
    401: "; check elasticsearch.api_key, or elasticsearch.username and elasticsearch.password",
    403: "; give the key or the user the privileges that docs/security.md lists",
}


def _tls(error: SSLError) -> str:
    """What is wrong with a certificate. The client hides the error of its library, which wraps that of Python."""
    cause: Any = error.__context__ or error
    cause = getattr(cause, "certificate_error", None) or getattr(cause, "os_error", cause)
    trouble = tls_trouble(cause, "elasticsearch") if isinstance(cause, ssl.SSLError) else None
    what, todo = trouble or (f"TLS fails: {' '.join(str(cause).split())[:200]}", "is elasticsearch.url the address of a TLS port?")
    return f"{what}; {todo}"


def describe(error: Exception) -> tuple[str, str]:
    """(kind, detail) of a failed request: a word for a label, and a line for a person."""
    if isinstance(error, UnsupportedProductError):
        return "not_elasticsearch", "the server that answers is not Elasticsearch"
    if isinstance(error, ApiError):
        body = error.body.get("error") if isinstance(error.body, dict) else error.body
        reason = _reason(body) if isinstance(body, dict) else " ".join(str(body or "").split())[:300]
        return f"http_{error.status_code}", f"HTTP {error.status_code} {reason}".rstrip() + _REFUSED.get(error.status_code, "")
    if isinstance(error, ConnectionTimeout):
        return "timeout", "no answer in time; the outcome is unknown"
    if isinstance(error, SerializationError):
        return "bad_answer", "the answer is not JSON; the outcome is unknown"
    if isinstance(error, SSLError):
        return "tls", _tls(error)
    if isinstance(error, TransportError):
        return "connection", " ".join(str(error).split())[:300]
    return "connection", f"{type(error).__name__}: {error}"[:300]
