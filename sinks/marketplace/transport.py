"""The network, as thin as it gets: one request, one answer, and whether anything can have arrived."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import aiohttp

from ...schemas.errors import Unavailable
from .credentials import Credentials, Secrets
from .http import Answer, Request
from .listings import Listing

__all__ = ["Transport"]

_MOST_BYTES = 4 << 20  # of an answer


class Transport:
    """An HTTP client without redirects, cookies and retries: whether to send again is for the outbox to say. To be used in `async with`."""

    def __init__(self, secrets: Secrets, timeout_s: float) -> None:
        self.credentials = Credentials(secrets, self.plain)
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout, trust_env=True)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, listing: Listing, request: Request) -> Answer:
        """One try with credentials; never raises for what a server does."""
        try:
            headers = await self.credentials.sign(listing, request)
        except Unavailable as error:
            return Answer(0, detail=str(error), unsent=True)
        answer = await self._ask(request, headers)
        if answer.status in (401, 403):
            self.credentials.refused(listing)
        return answer

    async def plain(self, request: Request) -> Answer:
        """One try as it is."""
        return await self._ask(request, request.headers)

    async def _ask(self, request: Request, headers: Mapping[str, str]) -> Answer:
        assert self._session is not None
        try:
            async with self._session.request(
                request.method, request.url, data=request.body or None, headers=headers, allow_redirects=False
            ) as answer:  # fmt: skip
                body = bytearray()
                async for piece in answer.content.iter_any():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        return Answer(0, detail="the answer is too long to be one")
                return Answer(answer.status, bytes(body), dict(answer.headers))
        except aiohttp.ClientConnectorError as error:  # no connection was made, so nothing was sent
            return Answer(0, detail=f"no connection to {error.host}", unsent=True)
        except TimeoutError:
            return Answer(0, detail=f"no answer within {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(0, detail=f"no answer: {type(error).__name__}")
