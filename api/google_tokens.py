"""Tokens with which Google's services say who they are: JWTs that Google signed, for an audience that was agreed on, of one service account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from ..schemas.errors import BadInput, Unavailable

__all__ = ["GoogleTokens", "keys_from"]

_ISSUERS = ["https://accounts.google.com", "accounts.google.com"]
_KEPT_S = 3_600  # Google changes its keys about once a week, and announces new ones days before
_AGAIN_S = 30  # at least between two looks for a key that was not there: tokens of strangers must not make us ask Google all the time
_LEEWAY_S = 30

Keys = Callable[[], Awaitable[dict[str, Any]]]


def keys_from(url: str) -> Keys:
    """Reads a set of keys (JWKS) from an address. What it gives raises Unavailable."""

    async def read() -> dict[str, Any]:
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session, session.get(url) as answer:
                answer.raise_for_status()
                found: dict[str, Any] = await answer.json(content_type=None)
                return found
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"the keys of Google at {url}: {error!r}") from error

    return read


class GoogleTokens:
    """audience: what the token must be for, as it stands in the push subscription. email: the service account that it must be of.

    Raises BadInput where PyJWT is not installed.
    """

    def __init__(self, audience: str, email: str, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            import jwt
        except ImportError:
            raise BadInput("tokens of Google need PyJWT: pip install 'ratemill[gcp]'") from None
        self._jwt: Any = jwt
        self._audience, self._email, self._read, self._clock = audience, email, keys, clock
        self._keys: dict[str, Any] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def problem(self, token: str) -> str:
        """Why a token is not valid, "" if it is. Raises Unavailable: the keys are not to be had."""
        jwt = self._jwt
        try:
            key = await self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            if key is None:
                return "it is signed with a key that Google does not have"
            said = jwt.decode(
                token, key, algorithms=["RS256"], audience=self._audience, issuer=_ISSUERS, leeway=_LEEWAY_S,
                options={"require": ["exp", "iat", "aud", "iss"]},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            return " ".join(str(error).split()) or type(error).__name__
        if said.get("email") != self._email or said.get("email_verified") is not True:
            return "it is of another service account than the one that was agreed on"
        return ""

    async def _key(self, kid: str) -> Any:
        async with self._reading:
            age = self._clock() - self._read_at
            if age > _KEPT_S or (kid not in self._keys and age > _AGAIN_S):
                try:
                    found = self._jwt.PyJWKSet.from_dict(await self._read())
                except (self._jwt.PyJWTError, AttributeError, TypeError) as error:
                    raise Unavailable(f"what stands for the keys of Google is no set of keys: {error}; see api.pubsub_keys_url") from None
                self._keys = {key.key_id: key for key in found.keys if key.key_id}
                self._read_at = self._clock()
            return self._keys.get(kid)
