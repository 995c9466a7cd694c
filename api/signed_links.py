"""Links for a customer view that is embedded elsewhere: a signed, short-lived statement of which account's costs its bearer may read.

A link's token reads `rml_<statement>.<signature>`, both in base64url. Nothing is stored of it: the signature is an HMAC-SHA256 of the
statement as it is written, under one of the secrets in the control database. It is worth nothing after its end, once the key that
made it is, and once the secret is gone that signed it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import Literal

import msgspec
from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, update

from ..schemas.event_checks import require_text
from ..store.database import transaction
from ..store.tables import link_secrets as table
from .tokens import Principal, Tokens

__all__ = ["DEFAULT_LIFETIME_S", "KEPT_S", "MAX_LIFETIME_S", "MIN_LIFETIME_S", "PREFIX", "Links", "Statement", "verifier"]

PREFIX = "rml_"
MIN_LIFETIME_S, DEFAULT_LIFETIME_S, MAX_LIFETIME_S = 60, 900, 86_400
KEPT_S = MAX_LIFETIME_S + 60  # a secret after it was rotated: its last link has ended by then, clocks that disagree included

_TOKEN = re.compile(r"rml_([A-Za-z0-9_-]{1,8192})\.([A-Za-z0-9_-]{43})")
_CONTEXT = b"ratemill link 1\0"  # nothing else that one of these secrets may ever sign begins so
_NO_SECRET = secrets.token_bytes(32)  # what is compared with where there is no such secret


class Statement(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """What is signed. account: the only one; expires_at: seconds since 1970, UTC; made_by: id of a key; secret: id of what signs it."""

    account: str
    scopes: tuple[Literal["costs:read"]]  # a link reads, and does nothing else
    expires_at: int
    made_by: str
    secret: str


class Links:
    """Makes links and verifies them. A look-up of the secret and of the key that made the link is all that a verification asks of the database.

    now: whole seconds since 1970, UTC. Every method raises Unavailable when the database does not answer.
    """

    def __init__(self, engine: Engine, tokens: Tokens, now: Callable[[], int] = lambda: int(time.time())) -> None:
        self._engine = engine
        self._tokens = tokens
        self._now = now

    def create(self, maker: Principal, account: str, lifetime_s: int) -> tuple[str, int]:
        """(token of a link, when it ends), made by a key for `lifetime_s` seconds, but for no longer than the key. Raises BadInput."""
        require_text("account", account)
        now = self._now()
        key = self._tokens.info(maker.token_id)
        expires_at = min(now + lifetime_s, now if key is None else key.expires_at)
        with transaction(self._engine) as connection:
            secret = self._newest(connection) or self._add(connection, now)
        said = _encoded(msgspec.json.encode(Statement(account, ("costs:read",), expires_at, maker.token_id, secret["id"])))
        return f"{PREFIX}{said}.{_signature(base64.b64decode(secret['secret']), said)}", expires_at

    def verify(self, text: str) -> Principal | None:
        """Whose link this is; None for one that is malformed, tampered with, expired, of a secret that is gone, or of a key that is: never which."""
        match = _TOKEN.fullmatch(text)
        statement = None if match is None else _read(match[1])
        if match is None or statement is None:
            return None
        now = self._now()
        secret = self._secret(statement.secret, now)
        signed = self._signed(_NO_SECRET if secret is None else secret, match[1], match[2])
        if secret is None or not signed or self._ended(statement, now) or not self._made_by_a_valid_key(statement, now):
            return None
        return Principal(statement.made_by, statement.account, frozenset(statement.scopes), "link", statement.expires_at)

    def rotate(self, at_once: bool) -> str:
        """Sign with a new secret from now on: its id. at_once: links that others signed end now; else each at its own end."""
        now = self._now()
        with transaction(self._engine) as connection:
            if at_once:
                connection.execute(delete(table))
            connection.execute(update(table).values(retired_at=func.coalesce(table.c.retired_at, now)))
            connection.execute(delete(table).where(table.c.retired_at <= now - KEPT_S))
            return str(self._add(connection, now)["id"])

    # The steps of `verify`: the tests break each of them, and see it found.

    def _secret(self, id: str, now: int) -> bytes | None:
        with transaction(self._engine) as connection:
            row = connection.execute(select(table).where(table.c.id == id)).mappings().one_or_none()
        if row is None or (row["retired_at"] is not None and now >= row["retired_at"] + KEPT_S):
            return None
        return base64.b64decode(row["secret"])

    def _signed(self, secret: bytes, said: str, signature: str) -> bool:
        return hmac.compare_digest(_signature(secret, said), signature)

    def _ended(self, statement: Statement, now: int) -> bool:
        return now >= statement.expires_at

    def _made_by_a_valid_key(self, statement: Statement, now: int) -> bool:
        key = self._tokens.info(statement.made_by)
        return key is not None and key.state(now) == "valid"

    def _newest(self, connection: Connection) -> RowMapping | None:
        query = select(table).where(table.c.retired_at.is_(None)).order_by(table.c.created_at.desc(), table.c.id).limit(1)
        return connection.execute(query).mappings().one_or_none()

    def _add(self, connection: Connection, now: int) -> RowMapping:
        row = {"id": secrets.token_hex(6), "secret": base64.b64encode(secrets.token_bytes(32)).decode(), "created_at": now, "retired_at": None}
        connection.execute(insert(table).values(row))
        return connection.execute(select(table).where(table.c.id == row["id"])).mappings().one()


def verifier(tokens: Tokens, links: Links) -> Callable[[str], Principal | None]:
    """Whose key or link a text is."""
    return lambda text: (links if text.startswith(PREFIX) else tokens).verify(text)


def _signature(secret: bytes, said: str) -> str:
    return _encoded(hmac.digest(secret, _CONTEXT + said.encode(), hashlib.sha256))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _read(said: str) -> Statement | None:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)), type=Statement)
    except (ValueError, msgspec.MsgspecError):
        return None
