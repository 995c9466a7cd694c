"""Tokens: made, verified, expired, revoked, on SQLite and on PostgreSQL; and verifiers that are broken on purpose, each found."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from ratemill.api.tokens import ACCOUNT_SCOPES, KEPT_S, MAX_LIFETIME_S, SCOPES, Principal, State, TokenInfo, Tokens, digest, new_token, token_id
from ratemill.schemas.errors import BadInput, Unavailable
from ratemill.store.database import transaction
from ratemill.store.tables import tokens as table
from set_clock import Clock
from sqlalchemy import Engine, RowMapping, delete, select, update

DAY = 86_400
START = 1_780_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def tokens(engine: Engine, clock: Clock) -> Tokens:
    return Tokens(engine, clock)


def other_secret(text: str) -> str:
    """The same token with another secret: its last character but one differs."""
    return text[:-2] + ("A" if text[-2] != "A" else "B") + text[-1]


# -- what is made --------------------------------------------------------------------------------------------------------


def test_a_token_says_who_asks(tokens: Tokens) -> None:
    text, info = tokens.create("collector", ["events:write", "costs:read"], "acct-1", 90 * DAY)
    assert re.fullmatch(r"rm_[a-z2-7]{12}_[A-Za-z0-9_-]{43}", text)
    assert info == TokenInfo(text.split("_")[1], "collector", "acct-1", ("events:write", "costs:read"), START, START + 90 * DAY)
    assert tokens.verify(text) == Principal(info.id, "acct-1", frozenset({"events:write", "costs:read"}), info.name, info.expires_at)
    assert tokens.list() == [info]


def test_an_operator_may_be_restricted(tokens: Tokens) -> None:
    found = tokens.verify(tokens.create("n", ["prices:read"], None, DAY)[0])
    assert found is not None
    assert found.account is None
    assert [scope for scope in SCOPES if found.may(scope)] == ["prices:read"]


def test_admin_may_everything() -> None:
    assert all(Principal("x", None, frozenset({"admin"}), "n", 1).may(scope) for scope in SCOPES)
    assert not any(Principal("x", None, frozenset(), "n", 1).may(scope) for scope in SCOPES)


def test_no_two_are_alike() -> None:
    made = [new_token() for _ in range(200)]
    assert len({key for key, _ in made}) == len({secret for _, secret in made}) == 200


def test_only_the_hash_is_stored(tokens: Tokens, engine: Engine) -> None:
    text, info = tokens.create("n", ["admin"], None, DAY)
    tokens.verify(text)
    with transaction(engine) as connection:
        row = connection.execute(select(table)).mappings().one()
    secret = text.removeprefix(f"rm_{info.id}_")
    assert row["secret_hash"] == hashlib.sha256(secret.encode()).hexdigest()
    assert not any(secret in str(value) for value in row.values())


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
def test_no_file_holds_the_secret(tokens: Tokens, tmp_path: Path) -> None:
    text, info = tokens.create("n", ["admin"], None, DAY)
    tokens.verify(text)
    tokens.revoke(info.id)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    secret = text.removeprefix(f"rm_{info.id}_")
    assert digest(secret).encode() in written  # the search finds what is there
    assert secret.encode() not in written


@pytest.mark.parametrize(
    ("name", "scopes", "account", "lifetime", "why"),
    [
        ("", ["admin"], None, DAY, "the name is empty"),
        ("a\nb", ["admin"], None, DAY, "control characters"),
        ("n" * 101, ["admin"], None, DAY, "at most 100"),
        ("n", [], None, DAY, "without a scope"),
        ("n", ["events:read"], None, DAY, "no scope 'events:read'"),
        ("n", ["prices:write"], "a", DAY, "no scope"),
        ("n", ["costs:read"], " ", DAY, "the account is empty"),
        ("n", ["costs:read"], "a\0", DAY, "control characters"),
        ("n", ["costs:read"], None, 0, "must expire"),
        ("n", ["costs:read"], None, -DAY, "must expire"),
        ("n", ["costs:read"], None, MAX_LIFETIME_S + 1, "at most 366 days"),
        *(("n", ["costs:read", scope], "a", DAY, f"cannot have the scope {scope}") for scope in ("admin", "periods:close", "dead-letters:read")),
    ],
)
@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
def test_what_is_not_made(tokens: Tokens, name: str, scopes: list[str], account: str | None, lifetime: int, why: str) -> None:
    with pytest.raises(BadInput, match=re.escape(why)) as raised:
        tokens.create(name, scopes, account, lifetime)
    assert "\n" not in str(raised.value)
    assert "; " in str(raised.value)
    assert tokens.list() == []


def test_every_scope_that_is_not_named_for_accounts_is_refused_to_them() -> None:
    assert set(SCOPES) - set(ACCOUNT_SCOPES) == {"admin", "periods:close", "dead-letters:read", "completeness:read"}


# -- what is verified ----------------------------------------------------------------------------------------------------


def faults(kind: type[Tokens], engine: Engine) -> set[str]:
    """What a verifier lets in, or keeps out, wrongly."""
    clock, found = Clock(START), set[str]()
    tokens = kind(engine, clock)

    def expect(what: str, text: str, let_in: bool) -> None:
        if (tokens.verify(text) is not None) != let_in:
            found.add(what)

    text, info = tokens.create("n", ["costs:read"], "a", DAY)
    expect("other secret", other_secret(text), False)  # before the right one is remembered, and after
    expect("valid", text, True)
    expect("other secret", other_secret(text), False)
    other, _ = tokens.create("n", ["costs:read"], "b", DAY)
    expect("other secret", f"rm_{info.id}_{other[16:]}", False)
    expect("unknown", f"rm_{'a' * 12}_{text[16:]}", False)
    clock.now = START + DAY - 1
    expect("valid", text, True)
    clock.now = START + DAY  # remembered a second ago
    expect("expired", text, False)
    clock.now = START + 2 * DAY
    expect("expired", text, False)
    text, info = tokens.create("n", ["costs:read"], "a", DAY)
    expect("valid", text, True)
    Tokens(engine, clock).revoke(info.id)  # by another process
    clock.now += 5
    expect("revoked", text, False)
    text, info = tokens.create("n", ["costs:read"], "a", DAY)
    expect("valid", text, True)
    tokens.revoke(info.id)
    expect("revoked", text, False)
    return found


class NoExpiry(Tokens):
    def _state(self, info: TokenInfo, now: int) -> State:
        return "valid" if (state := super()._state(info, now)) == "expired" else state


class NoRevocation(Tokens):
    def _state(self, info: TokenInfo, now: int) -> State:
        return "valid" if (state := super()._state(info, now)) == "revoked" else state


class NoHash(Tokens):
    def _matches(self, stored: str, secret: str) -> bool:
        super()._matches(stored, secret)
        return True


class AnyRow(Tokens):
    """Looks for the secret, not for the token."""

    def _row(self, id: str) -> RowMapping | None:
        with transaction(self._engine) as connection:
            return connection.execute(select(table).order_by(table.c.created_at)).mappings().first()


class LongMemory(Tokens):
    remember_s = 3_600


class NobodyMatches(Tokens):
    def _matches(self, stored: str, secret: str) -> bool:
        return super()._matches(digest(stored), secret)


def test_who_is_let_in_and_who_is_not(engine: Engine) -> None:
    assert faults(Tokens, engine) == set()


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (NoExpiry, {"expired"}),
        (NoRevocation, {"revoked"}),
        (NoHash, {"other secret"}),
        (AnyRow, {"unknown"}),
        (LongMemory, {"revoked"}),
        (NobodyMatches, {"valid"}),
    ],
)
@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
def test_a_broken_verifier_is_found(engine: Engine, kind: type[Tokens], what: set[str]) -> None:
    assert what <= faults(kind, engine)


@pytest.mark.parametrize("change", [
    lambda text: "", lambda text: text[:-1], lambda text: text + "A", lambda text: text + "\n", lambda text: " " + text, lambda text: text.upper(),
    lambda text: text.replace("rm_", "rm-"), lambda text: text[3:], lambda text: text + "=", lambda text: text[:-1] + "é",
    lambda text: "x" * 10_000_000,    lambda text: text[:3] + "'" + text[4:], lambda text: text[:-1] + "\0", lambda text: text[:-1] + "\ud800",
])  # fmt: skip
@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
def test_what_is_no_token_asks_no_database(tokens: Tokens, engine: Engine, change: Callable[[str], str]) -> None:
    text, _ = tokens.create("n", ["admin"], None, DAY)
    with transaction(engine) as connection:
        connection.exec_driver_sql("ALTER TABLE tokens RENAME TO gone")
    assert tokens.verify(change(text)) is None
    with pytest.raises(Unavailable):  # so it would have been seen
        tokens.verify(text)


# -- what is remembered --------------------------------------------------------------------------------------------------


def test_a_revocation_elsewhere_takes_effect_within_five_seconds_and_here_at_once(tokens: Tokens, engine: Engine, clock: Clock) -> None:
    text, info = tokens.create("n", ["admin"], None, DAY)
    assert tokens.verify(text)
    assert Tokens(engine, clock).revoke(info.id)
    clock.now += 4
    assert tokens.verify(text)  # remembered: this is the delay that is promised
    clock.now += 1
    assert tokens.verify(text) is None
    text, info = tokens.create("n", ["admin"], None, DAY)
    assert tokens.verify(text)
    assert tokens.revoke(info.id)
    assert tokens.verify(text) is None


def test_what_was_found_invalid_is_not_let_in_by_memory(tokens: Tokens, engine: Engine, clock: Clock) -> None:
    text, _ = tokens.create("n", ["admin"], None, 3)
    assert tokens.verify(text)
    clock.now += 3
    assert tokens.verify(text) is None
    clock.now -= 10  # a clock set back makes it ask again
    with transaction(engine) as connection:
        connection.execute(delete(table))
    assert tokens.verify(text) is None


def test_memory_is_bounded(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tokens, "remember_most", 3)
    made = [tokens.create("n", ["admin"], None, DAY)[0] for _ in range(8)]
    for text in made:
        assert tokens.verify(text)
        assert tokens.verify(other_secret(text)) is None
        assert len(tokens._known) <= 3


def test_memory_holds_no_secret(tokens: Tokens) -> None:
    text, _ = tokens.create("n", ["admin"], None, DAY)
    assert tokens.verify(text)
    assert tokens._known
    assert text[16:] not in repr(vars(tokens))


def test_threads_share_one(tokens: Tokens) -> None:
    made = [tokens.create("n", ["admin"], None, DAY)[0] for _ in range(10)]
    wrong: list[str] = []

    def ask() -> None:
        for text in made * 10:
            if tokens.verify(text) is None or tokens.verify(other_secret(text)) is not None:
                wrong.append(text)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# -- revoking, listing ---------------------------------------------------------------------------------------------------


def test_a_token_is_revoked_once(tokens: Tokens, clock: Clock) -> None:
    _, info = tokens.create("n", ["admin"], None, DAY)
    _, other = tokens.create("other", ["admin"], None, DAY)
    clock.now += 10
    assert tokens.revoke(info.id)
    clock.now += 10
    assert tokens.revoke(info.id)
    assert not tokens.revoke("a" * 12)
    found = {each.name: each for each in tokens.list()}
    assert found["n"].revoked_at == START + 10
    assert found["other"] == other


def test_states(tokens: Tokens, engine: Engine, clock: Clock) -> None:
    made = [tokens.create(str(n), ["admin"], None, n * DAY)[1] for n in (1, 2, 3)]
    tokens.revoke(made[2].id)
    clock.now += DAY
    assert {each.name: each.state(clock.now) for each in tokens.list()} == {"1": "expired", "2": "valid", "3": "revoked"}
    with transaction(engine) as connection:  # a revoked one is revoked, also when it would have expired since
        connection.execute(update(table).values(expires_at=START))
    assert {each.name: each.state(clock.now) for each in tokens.list()} == {"1": "expired", "2": "expired", "3": "revoked"}


def test_the_id_of_a_leaked_token_is_found_and_nothing_is_repeated() -> None:
    key, secret = new_token()
    assert token_id(key) == token_id(f"rm_{key}_{secret}") == key
    for text in ("", secret, f"rm_{key}", f"rm_{key}_{secret}x"):
        with pytest.raises(BadInput) as raised:
            token_id(text)
        assert secret not in str(raised.value)


def test_what_ended_long_ago_is_deleted_and_nothing_else(tokens: Tokens, clock: Clock) -> None:
    for name, lifetime in (("short", DAY), ("revoked", DAY), ("long", 200 * DAY)):
        _, info = tokens.create(name, ["costs:read"], "a", lifetime)
        if name == "revoked":
            tokens.revoke(info.id)
    clock.now = START + DAY + KEPT_S
    assert tokens.sweep() == 0
    clock.now += 1
    assert tokens.sweep(most=1) == 1
    assert tokens.sweep() == 1
    assert [each.name for each in tokens.list()] == ["long"]
