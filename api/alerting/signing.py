"""Signatures of webhooks, as the Standard Webhooks specification has them: symmetric, version v1."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

__all__ = ["new_id", "new_secret", "signed_headers"]

_PREFIX = "whsec_"


def new_secret() -> str:
    """A secret of 256 random bits, in the form that receivers' libraries take: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def new_id() -> str:
    """An id for a message: the same on each try, so that a receiver knows it again."""
    return f"msg_{secrets.token_hex(16)}"


def signed_headers(id: str, timestamp: int, body: bytes, keys: Sequence[str]) -> dict[str, str]:
    """The three headers of a delivery. timestamp: seconds since 1970, of this try. keys: the secrets that sign, each gives a signature."""
    content = f"{id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(base64.b64decode(key.removeprefix(_PREFIX)), content, hashlib.sha256)).decode() for key in keys]
    return {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": " ".join(f"v1,{each}" for each in signatures)}
