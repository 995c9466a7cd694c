"""Delivery to the HTTP API (`POST /v1/events`): what it accepts is in Kafka, and each event that it refuses is told by itself."""

from __future__ import annotations

import gzip
import http.client
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import msgspec

from ...schemas.addresses import is_here
from ...schemas.errors import UNREADABLE, BadInput, Unavailable
from ...sinks.access import CLEAR, address, tls_context
from .spool import Refused, Row
from .targets import Outcome

__all__ = ["HttpTarget"]

_MOST_OF_AN_ANSWER = 64 << 20  # bytes
_UNUSABLE = (400, 413, 415)  # the request itself, whenever it is sent


@dataclass(frozen=True)
class HttpTarget:
    """The API at `https://host:port`. key: an API key with the scope events:write; key_file: where it stands, read anew for each connection.

    body_bytes, body_events: of one request, before it is compressed; the API's own limits are `api.max_body_bytes` and `api.max_events`.
    """

    url: str
    key: str = field(default="", repr=False)
    key_file: str = ""
    ca_file: str = ""
    allow_plaintext: bool = False
    compression: bool = True
    body_bytes: int = 1 << 20
    body_events: int = 5_000
    request_timeout_s: float = 30.0

    def connect(self) -> HttpSender:
        """A sender to this API. Raises BadInput."""
        try:
            parts = address(self.url)
        except ValueError as error:
            raise BadInput(f"HTTP target: {error}") from None
        if parts.scheme == "http" and not (is_here(parts.hostname or "") or self.allow_plaintext):
            raise BadInput(f"HTTP target: an http address {CLEAR}; make it https, or set allow_plaintext=True if you mean it")
        if bool(self.key) == bool(self.key_file):
            raise BadInput("HTTP target: it needs either a key or a key_file; make one by `ratemill tokens create --name NAME --scope events:write`")
        sender = HttpSender(self)
        sender.connection()  # what cannot work is said now
        return sender

    def heartbeat(self, source: str) -> None:
        """Say that a source lives: without it, one that has no usage for an hour looks like one that died. Raises BadInput, Unavailable."""
        sender = self.connect()
        try:
            sender.heartbeat(source)
        finally:
            sender.close()


class _Result(msgspec.Struct):
    pointer: str
    status: str
    reason: str = ""
    detail: str = ""


class _Answer(msgspec.Struct):
    """An outcome, or problem details."""

    results: list[_Result] = []
    type: str = ""
    detail: str = ""


_decode = msgspec.json.Decoder(_Answer).decode


class HttpSender:
    """One connection that is kept, and made anew after a failure."""

    def __init__(self, target: HttpTarget) -> None:
        self._target = target
        self._parts = address(target.url)
        self._connection: http.client.HTTPConnection | None = None
        self._authorization = ""

    def deliver(self, rows: Sequence[Row]) -> Outcome:
        """Send rows, request after request, until one fails."""
        done: list[Row] = []
        refused: list[Refused] = []
        for request in _requests(rows, self._target.body_bytes, self._target.body_events):
            failure, wait_s = self._request(request, done, refused)
            if failure:
                return Outcome(done, refused, f"{self._target.url}: {failure}", wait_s)
        return Outcome(done, refused)

    def heartbeat(self, source: str) -> None:
        """See `HttpTarget.heartbeat`."""
        try:
            status, answer, _ = self._ask("/v1/heartbeats", msgspec.json.encode({"source": source}), {"content-type": "application/json"})
        except (OSError, http.client.HTTPException, *UNREADABLE) as error:
            raise Unavailable(f"{self._target.url}: the heartbeat of {source} was not taken: {error}") from None
        if status != 204:
            raise Unavailable(f"{self._target.url}: the heartbeat of {source} was answered {status}: {answer.detail}"[:300])

    def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _request(self, rows: list[Row], done: list[Row], refused: list[Refused]) -> tuple[str, float]:
        """Why the rows are not done, or "", and how long the API asks us to wait."""
        lines = [(row, line) for row in rows for line in row.body.split(b"\n")]
        try:
            status, answer, wait_s = self._post(b"\n".join(line for _, line in lines), rows[0].backfill)
        except (OSError, http.client.HTTPException, *UNREADABLE) as error:
            self.close()
            return " ".join(f"{type(error).__name__}: {error}".split())[:300], 0
        if status in (202, 422) and answer.results:
            return self._judged(answer.results, rows, lines, done, refused), 0
        kind = answer.type.rpartition(":")[2]
        # A proxy that answers 400 says nothing about the events; one that answers 413 takes no more, whoever it is.
        if status not in _UNUSABLE or not (kind or status == 413):
            if status in (401, 403):
                self.close()  # the next connection reads the key anew
            return f"answered {status} {kind}: {answer.detail}"[:300], wait_s
        if len(lines) == 1:
            refused.append(Refused(rows[0].account, rows[0].backfill, kind or str(status), answer.detail, lines[0][1]))
            done.append(rows[0])
            return "", 0
        return self._halves(rows, done, refused)

    def _halves(self, rows: list[Row], done: list[Row], refused: list[Refused]) -> tuple[str, float]:
        """Something of these rows, or all together, is too much: each half by itself, down to one event."""
        if len(rows) > 1:
            half = len(rows) // 2
            failure, wait_s = self._request(rows[:half], done, refused)
            return (failure, wait_s) if failure else self._request(rows[half:], done, refused)
        row = rows[0]
        lines = row.body.split(b"\n")
        half = len(lines) // 2
        told: list[Refused] = []
        for part in (lines[:half], lines[half:]):
            failure, wait_s = self._request([row._replace(events=len(part), body=b"\n".join(part))], [], told)
            if failure:
                return failure, wait_s  # the row waits whole, so what was told of its first half will be told again
        refused.extend(told)
        done.append(row)
        return "", 0

    @staticmethod
    def _judged(results: list[_Result], rows: list[Row], lines: list[tuple[Row, bytes]], done: list[Row], refused: list[Refused]) -> str:
        if [result.pointer for result in results] != [f"/{at}" for at in range(len(lines))]:
            return f"the answer has other results than one for each of the {len(lines)} events"
        for result, (row, line) in zip(results, lines, strict=True):
            if result.status == "rejected":
                refused.append(Refused(row.account, row.backfill, result.reason, result.detail, line))
        done.extend(rows)
        return ""

    def _post(self, body: bytes, backfill: str) -> tuple[int, _Answer, float]:
        headers = {"content-type": "application/x-ndjson"}
        if self._target.compression:
            body, headers["content-encoding"] = gzip.compress(body, 1), "gzip"
        return self._ask("/v1/events" + (f"?backfill={quote(backfill, safe='')}" if backfill else ""), body, headers)

    def _ask(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, _Answer, float]:
        if self._connection is None:
            self._connection = self.connection()
        place = f"{self._parts.path.rstrip('/')}{path}"
        self._connection.request("POST", place, body, {**headers, "authorization": self._authorization})
        response = self._connection.getresponse()
        said = response.read(_MOST_OF_AN_ANSWER)
        wait = response.headers.get("retry-after", "")
        if not response.headers.get("content-type", "").startswith(("application/json", "application/problem+json")):
            self.close()
            return response.status, _Answer(detail=said[:200].decode("utf-8", "replace")), float(wait) if wait.isdecimal() else 0
        return response.status, _decode(said or b"{}"), float(wait) if wait.isdecimal() else 0

    def connection(self) -> http.client.HTTPConnection:
        """A connection that is made when it is first used; key and certificates are read anew. Raises BadInput."""
        key, file = self._target.key, self._target.key_file
        try:
            self._authorization = f"Bearer {key or Path(file).read_text(encoding='utf-8').strip()}"
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"HTTP target: the key file {file} cannot be read: {error}") from error
        host, port, timeout = self._parts.hostname or "", self._parts.port, self._target.request_timeout_s
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout)
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=tls_context("HTTP target", ca_file=self._target.ca_file))


def _requests(rows: Sequence[Row], most_bytes: int, most_events: int) -> Iterator[list[Row]]:
    """Rows of one backfill, about so many bytes and events of them."""
    open_: dict[str, tuple[list[Row], int, int]] = {}
    for row in rows:
        together, size, events = open_.get(row.backfill) or ([], 0, 0)
        if together and (size + len(row.body) > most_bytes or events + row.events > most_events):
            yield together
            together, size, events = [], 0, 0
        together.append(row)
        open_[row.backfill] = (together, size + len(row.body) + 1, events + row.events)
    for together, _, _ in open_.values():
        yield together
