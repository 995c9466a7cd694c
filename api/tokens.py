"""Tokens of the HTTP API: who may do what, for how long, and for which account.

A token reads `rm_<id>_<secret>`. The id names it in lists and logs; the secret is shown once, when it is made, and is not stored.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from sqlalchemy import Engine, RowMapping, delete, func, insert, select, update

from ..schemas.errors import BadInput
from ..schemas.event_checks import require_text
from ..store.database import transaction
from ..store.tables import tokens as table

__all__ = ["ACCOUNT_SCOPES", "KEPT_S", "MAX_LIFETIME_S", "SCOPES", "Principal", "State", "TokenInfo", "Tokens", "digest", "new_token", "token_id"]

SCOPES = (
    "events:write", "costs:read", "prices:read", "links:create", "pipeline:read", "alerts:read", "alerts:write",
    "completeness:read", "dead-letters:read", "periods:close", "admin",
)  # fmt: skip
# What a token of one account may have: the other scopes reach beyond it.
ACCOUNT_SCOPES = ("events:write", "costs:read", "prices:read", "links:create", "pipeline:read", "alerts:read", "alerts:write")
MAX_LIFETIME_S = 366 * 86_400
KEPT_S = 90 * 86_400  # after its end a token is still listed for so long
MAX_NAME = 100

State = Literal["valid", "expired", "revoked"]
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ID = re.compile("[a-z2-7]{12}")
_TOKEN = re.compile("rm_([a-z2-7]{12})_([A-Za-z0-9_-]{43})")
_NOBODY = "0" * 64  # no secret has this hash; what is compared where there is no such token


@dataclass(frozen=True)
class Principal:
    """Who asks, once their token was verified. account: the only one that it is for; None: an operator, all accounts. name: of the token.
    expires_at: seconds since 1970, UTC."""

    token_id: str
    account: str | None
    scopes: frozenset[str]
    name: str = ""
    expires_at: int = 0

    def may(self, scope: str) -> bool:
        """Whether the token has a scope; `admin` implies all of them."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True)
class TokenInfo:
    """All that is known of a token but its secret. Times are whole seconds since 1970, UTC."""

    id: str
    name: str
    account: str | None
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int
    revoked_at: int | None = None

    def state(self, now: int) -> State:
        """What it is worth at a time (seconds since 1970, UTC)."""
        if self.revoked_at is not None:
            return "revoked"
        return "valid" if now < self.expires_at else "expired"


def new_token() -> tuple[str, str]:
    """(id, secret) of a new token: 60 and 256 random bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12)), secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored of a secret: its SHA-256, in hexadecimal.

    A slow hash protects passwords, which can be guessed. These are 256 random bits: nobody gets through them at any speed.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def token_id(text: str) -> str:
    """The id in an id or in a whole token: whoever finds a leaked token can paste it. Raises BadInput, without repeating the text."""
    if match := _TOKEN.fullmatch(text):
        return match[1]
    if _ID.fullmatch(text) is None:
        raise BadInput("that is no id of a token; take the 12 characters that `ratemill tokens list` shows")
    return text


class Tokens:
    """The tokens in a control database.

    A revocation takes effect at once where it is made, and within 5 s everywhere else: `verify` remembers a token that it found
    valid for less than that, so that not every request asks the database. Instances may be shared between threads.

    now: whole seconds since 1970, UTC. Every method raises Unavailable when the database does not answer.
    """

    remember_s: ClassVar[int] = 5
    remember_most: ClassVar[int] = 10_000

    def __init__(self, engine: Engine, now: Callable[[], int] = lambda: int(time.time())) -> None:
        self._engine = engine
        self._now = now
        self._known: dict[bytes, tuple[int, TokenInfo]] = {}  # hash of a whole token -> (when it was read, what was read)

    def create(self, name: str, scopes: Iterable[str], account: str | None, lifetime_s: int) -> tuple[str, TokenInfo]:
        """Make a token that is valid for `lifetime_s` seconds from now: (its text, what is known of it). The text cannot be had again.

        account: the only one that it is for; None: an operator's. Raises BadInput.
        """
        wanted = tuple(scope for scope in SCOPES if scope in (asked := set(scopes)))
        _check(name, asked, account, lifetime_s)
        (key, secret), now = new_token(), self._now()
        info = TokenInfo(key, name, account, wanted, now, now + lifetime_s)
        row = {
            "id": key, "name": name, "secret_hash": digest(secret), "account": account, "scopes": " ".join(wanted), "created_at": now,
            "expires_at": info.expires_at,
        }  # fmt: skip
        with transaction(self._engine) as connection:
            connection.execute(insert(table).values(row))
        return f"rm_{key}_{secret}", info

    def revoke(self, id: str) -> bool:
        """Let a token be worth nothing from now on. False if there is none; one that was revoked before stays so, since then."""
        query = update(table).where(table.c.id == id).values(revoked_at=func.coalesce(table.c.revoked_at, self._now()))
        with transaction(self._engine) as connection:
            found = connection.execute(query).rowcount > 0
        self._known.clear()
        return found

    def verify(self, text: str) -> Principal | None:
        """Whose token this is. None for one that is malformed, unknown, expired, revoked or has another secret: never said which.

        Whatever is right or wrong about a well-formed token that is not remembered, the same is done: one row asked for, one
        comparison in constant time.
        """
        match = _TOKEN.fullmatch(text)
        if match is None:
            return None
        key, now = hashlib.sha256(text.encode()).digest(), self._now()  # the time before the database is asked: rather too old than too new
        read_at, info = self._known.get(key, (now, None))
        if info is None or not 0 <= now - read_at < self.remember_s:  # clocks are set back, too
            row = self._row(match[1])
            right = self._matches(_NOBODY if row is None else row["secret_hash"], match[2])
            if row is None or not right:
                return None
            info = _info(row)
            if len(self._known) >= self.remember_most:
                self._known.clear()
            self._known[key] = (now, info)
        if self._state(info, now) != "valid":
            return None
        return Principal(info.id, info.account, frozenset(info.scopes), info.name, info.expires_at)

    def sweep(self, most: int = 1_000) -> int:
        """Delete tokens that ended long ago, at most so many: how many. What was revoked is kept until its own end, and as long after it."""
        old = select(table.c.id).where(table.c.expires_at < self._now() - KEPT_S).limit(most)
        with transaction(self._engine) as connection:
            return connection.execute(delete(table).where(table.c.id.in_(old))).rowcount

    def info(self, id: str) -> TokenInfo | None:
        """What is known of a token; None if there is none. It asks the database each time."""
        row = self._row(id)
        return None if row is None else _info(row)

    # The three steps of `verify`: the tests break each of them, and see it found.

    def _row(self, id: str) -> RowMapping | None:
        with transaction(self._engine) as connection:
            return connection.execute(select(table).where(table.c.id == id)).mappings().one_or_none()

    def _matches(self, stored: str, secret: str) -> bool:
        return hmac.compare_digest(stored, digest(secret))

    def _state(self, info: TokenInfo, now: int) -> State:
        return info.state(now)

    def list(self) -> list[TokenInfo]:  # the last method: below it, `list` is this one
        """All tokens, the newest last."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(table).order_by(table.c.created_at, table.c.id)).mappings().all()
        return [_info(row) for row in rows]


def _info(row: RowMapping) -> TokenInfo:
    return TokenInfo(row["id"], row["name"], row["account"], tuple(row["scopes"].split()), row["created_at"], row["expires_at"], row["revoked_at"])


def _check(name: str, scopes: set[str], account: str | None, lifetime_s: int) -> None:
    """Raise BadInput for a token that may not be made."""
    for what, text in (("name", name), ("account", account)):
        if text is not None:
            require_text(what, text)
    if len(name) > MAX_NAME:
        raise BadInput(f"the name has {len(name)} characters; give one of at most {MAX_NAME}")
    if not scopes:
        raise BadInput(f"a token without a scope may do nothing; give one or more of {', '.join(SCOPES)}")
    if unknown := sorted(scopes.difference(SCOPES)):
        raise BadInput(f"there is no scope {unknown[0][:40]!r}; take from {', '.join(SCOPES)}")
    if account is not None and (wide := [scope for scope in SCOPES if scope in scopes and scope not in ACCOUNT_SCOPES]):
        raise BadInput(f"a token of one account cannot have the scope {wide[0]}, which is about all of them; leave it out, or the account")
    if not 0 < lifetime_s <= MAX_LIFETIME_S:
        raise BadInput(f"a token must expire, after at most {MAX_LIFETIME_S // 86_400} days; give another lifetime")
