"""`query_range` of Prometheus' HTTP API: whole answers, or an error."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from ...schemas.errors import AccessDenied, BadInput, Unavailable
from .meters import Plan, Point, Series

__all__ = ["Prometheus"]

_TIMEOUT_S = 120
_MOST_BYTES = 256 << 20


class Prometheus:
    """The server of a plan. Raises BadInput for an address that is none."""

    def __init__(self, plan: Plan) -> None:
        parts = urlsplit(plan.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(f"url {plan.url!r}: give the address of Prometheus: http://HOST:9090")
        self._url = plan.url.rstrip("/") + "/api/v1/query_range"
        self._token_file = plan.token_file
        self._tls = ssl.create_default_context(cafile=plan.ca_file or None) if parts.scheme == "https" else None

    def query_range(self, query: str, start: int, end: int, step_s: int) -> list[Series]:
        """Series with their samples at start, start + step, …, end (seconds since 1970). Raises BadInput, Unavailable, AccessDenied."""
        form = urlencode({"query": query, "start": start, "end": end, "step": step_s}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if self._token_file:
            try:
                headers["authorization"] = f"Bearer {Path(self._token_file).read_text(encoding='utf-8').strip()}"
            except OSError as error:
                raise BadInput(f"token_file {self._token_file}: {error.strerror}") from None
        try:
            with urllib.request.urlopen(urllib.request.Request(self._url, form, headers), timeout=_TIMEOUT_S, context=self._tls) as answer:
                raw = answer.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise self._refused(error.code, error.read(1 << 16), query) from None
        except (OSError, HTTPException) as error:
            raise Unavailable(f"{self._url}: {getattr(error, 'reason', error)}") from None
        if len(raw) > _MOST_BYTES:
            raise BadInput(f"{query}: the answer has more than {_MOST_BYTES >> 20} MiB; make window_s smaller, or the query narrower")
        try:
            return self._series(json.loads(raw, parse_float=str), query)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise Unavailable(f"{self._url}: an answer that is none of Prometheus' ({type(error).__name__}: {error})") from None

    def _series(self, said: Any, query: str) -> list[Series]:
        if said["status"] != "success" or said["data"]["resultType"] != "matrix":
            raise Unavailable(f"{query}: {said.get('error', 'the answer is no matrix')}")
        if warnings := said.get("warnings"):
            # A part of the servers behind this one did not answer: usage would be missing for good.
            raise Unavailable(f"{query}: the answer may lack something: {'; '.join(map(str, warnings))[:300]}")
        return [Series(one["metric"], _points(one["values"])) for one in said["data"]["result"]]

    def _refused(self, status: int, raw: bytes, query: str) -> Exception:
        try:
            said = json.loads(raw)
            why = f"{said['errorType']}: {said['error']}"
        except (ValueError, KeyError, TypeError):
            why = raw[:200].decode("utf-8", "replace")
        why = " ".join(why.split())
        if status in (401, 403):
            return AccessDenied(f"{self._url}: {status} {why}; give a token by token_file")
        if status in (400, 422):
            return BadInput(f"{query}: {why}")
        return Unavailable(f"{self._url}: {status} {why}")


def _points(values: Sequence[Any]) -> list[Point]:
    return [Point(int(str(time).partition(".")[0]), str(value)) for time, value in values]
