"""Sending one webhook, and when the next try is due. What it sends to is chosen by customers, so it goes nowhere but to public addresses."""

from __future__ import annotations

import errno
import ipaddress
import random
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp

from ...schemas.errors import BadInput
from .rules import check_url
from .signing import signed_headers

__all__ = ["RETRY_S", "Answer", "Sender", "is_public", "next_try"]

# Seconds between tries: within a day in all, the first ones soon. Each is drawn out by up to a fifth, so that many do not come at once.
RETRY_S = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 21_600, 36_000)
_JITTER = 0.2
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that is the public internet so far


class Answer(NamedTuple):
    """What came of a try: the status, 0 when there was no answer; and what is wrong with that, empty for 2xx."""

    status: int
    error: str = ""

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing any more."""
        return self.status == 410


class _NotPublic(OSError):
    pass


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet; one that only wraps another is as public as that."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is None:
            return found.is_global and found in _UNICAST
        found = inner
    return found.is_global and not found.is_multicast


def _public_socket(address: Any) -> socket.socket:
    """A socket to connect to this very address with; it is looked at here, so a name cannot lead elsewhere afterwards."""
    family, kind, protocol, _, where = address
    if not is_public(where[0]):
        raise _NotPublic(errno.EACCES, "not a public address")
    return socket.socket(family, kind, protocol)


def next_try(attempts: int) -> float | None:
    """Seconds to wait after so many tries; None: no more."""
    if attempts > len(RETRY_S):
        return None
    return RETRY_S[attempts - 1] * (1 + random.random() * _JITTER)


class Sender:
    """An HTTP client for webhooks: no redirects, no proxy, no cookies, bounded in time; what receivers say is not read beyond the status.

    timeout_s: for a whole try. allow_private: also http, and addresses of our own networks. To be used in `async with`.
    """

    def __init__(self, timeout_s: float, allow_private: bool) -> None:
        self.timeout_s = timeout_s
        self._allow_private = allow_private
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(socket_factory=None if self._allow_private else _public_socket, force_close=True)
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=self.timeout_s), trust_env=False
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, url: str, id: str, body: str, keys: Sequence[str], now: int) -> Answer:
        """One try. keys: the secrets that sign it. now: seconds since 1970, UTC. Never raises for what a receiver does."""
        assert self._session is not None
        try:
            check_url(url, self._allow_private)  # the setting may have changed since the rule was made
        except BadInput:
            return Answer(0, "the url is not allowed any more; change the rule")
        data = body.encode()
        headers = {"content-type": "application/json", "user-agent": "ratemill", **signed_headers(id, now, data, keys)}
        try:
            async with self._session.post(url, data=data, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except TimeoutError:
            return Answer(0, f"no answer within {self.timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(0, _in_words(error))
        return Answer(status, "" if 200 <= status < 300 else f"answered {status}")


def _in_words(error: Exception) -> str:
    """Nothing that the error says itself: the url may hold a secret, and the answer is shown to whoever reads the rule."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, _NotPublic):
            return "the address is not a public one"
        below = below.__cause__ or below.__context__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name is not known"
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError)):
        return "the certificate is not trusted"
    if isinstance(error, (aiohttp.ClientConnectionError, OSError)):
        return "no connection, or it was closed before an answer"
    return "the answer is not HTTP"
