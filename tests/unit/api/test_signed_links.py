"""Links: what they say, who is let in by one, on SQLite and on PostgreSQL; and verifiers that are broken on purpose, each found."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ratemill.api.signed_links import KEPT_S, MAX_LIFETIME_S, Links, Statement, verifier
from ratemill.api.tokens import Principal, Tokens
from ratemill.cli.main import main
from ratemill.schemas.errors import BadInput
from ratemill.store.database import open_database, transaction
from ratemill.store.tables import link_secrets
from set_clock import Clock
from sqlalchemy import Engine, func, select

HOUR = 3_600
START = 1_780_000_000


def key_of(tokens: Tokens, account: str | None = None, lifetime_s: int = 30 * 24 * HOUR) -> Principal:
    principal = tokens.verify(tokens.create("portal", ["links:create"], account, lifetime_s)[0])
    assert principal is not None
    return principal


def said_in(text: str) -> list[object]:
    said: list[object] = json.loads(base64.urlsafe_b64decode(text[4:].partition(".")[0] + "=="))
    return said


def saying(text: str, statement: list[object]) -> str:
    """The same signature under another statement."""
    said = base64.urlsafe_b64encode(json.dumps(statement, separators=(",", ":")).encode()).decode().rstrip("=")
    return f"rml_{said}.{text.partition('.')[2]}"


def secrets_of(engine: Engine) -> int:
    with transaction(engine) as connection:
        return int(connection.execute(select(func.count()).select_from(link_secrets)).scalar_one())


def test_a_link_says_who_may_read_what_until_when(engine: Engine) -> None:
    clock = Clock(START)
    tokens = Tokens(engine, clock)
    links, maker = Links(engine, tokens, clock), key_of(tokens)
    text, expires_at = links.create(maker, "acme \u00fc", 900)
    assert re.fullmatch(r"rml_[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}", text)  # nothing that an address must escape
    assert expires_at == START + 900
    assert said_in(text)[:4] == ["acme \u00fc", ["costs:read"], START + 900, maker.token_id]
    found = links.verify(text)
    assert found == Principal(maker.token_id, "acme \u00fc", frozenset({"costs:read"}), "link", START + 900)
    assert [scope for scope in ("events:write", "links:create", "admin") if found.may(scope)] == []
    assert links.create(maker, "acme \u00fc", 900)[0] == text  # nothing but what it says is in it
    assert secrets_of(engine) == 1
    assert verifier(tokens, links)(text) == found


def test_the_signature_is_that_of_the_definition(engine: Engine) -> None:
    tokens = Tokens(engine)
    text, _ = Links(engine, tokens).create(key_of(tokens), "acme", 900)
    said, _, signature = text[4:].partition(".")
    with transaction(engine) as connection:
        secret = base64.b64decode(connection.execute(select(link_secrets.c.secret)).scalar_one())
    assert len(secret) == 32
    wanted = hmac.new(secret, b"ratemill link 1\0" + said.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "=") == wanted


def test_a_link_ends_with_the_key_that_made_it(engine: Engine) -> None:
    clock = Clock(START)
    tokens = Tokens(engine, clock)
    text, expires_at = Links(engine, tokens, clock).create(key_of(tokens, "acme", 600), "acme", 900)
    assert expires_at == said_in(text)[2] == START + 600


@pytest.mark.parametrize("account", ["", " ", "a\nb", "x" * 2_000])
@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
def test_an_account_that_is_none(engine: Engine, account: str) -> None:
    tokens = Tokens(engine)
    with pytest.raises(BadInput, match="account"):
        Links(engine, tokens).create(key_of(tokens), account, 900)


# -- what is verified ----------------------------------------------------------------------------------------------------


def faults(kind: type[Links], engine: Engine) -> set[str]:
    """What a verifier lets in, or keeps out, wrongly."""
    clock, found = Clock(START), set[str]()
    tokens = Tokens(engine, clock)
    links, other = kind(engine, tokens, clock), Links(engine, tokens, clock)

    def expect(what: str, text: str, let_in: bool) -> None:
        if (links.verify(text) is not None) != let_in:
            found.add(what)

    maker = key_of(tokens)
    text, _ = links.create(maker, "acme", 900)
    account, scopes, ends, by, secret = said_in(text)
    assert saying(text, [account, scopes, ends, by, secret]) == text
    expect("valid", text, True)
    expect("tampered", saying(text, ["globex", scopes, ends, by, secret]), False)
    expect("tampered", saying(text, [account, scopes, ends + 1, by, secret]), False)  # type: ignore[operator]
    expect("tampered", text[:-2] + ("AA" if text[-2:] != "AA" else "BB"), False)
    expect("tampered", saying(text, [account, scopes, ends, by, "0" * 12]), False)
    clock.now = START + 899
    expect("valid", text, True)
    clock.now = START + 900
    expect("expired", text, False)
    text, _ = links.create(maker, "acme", MAX_LIFETIME_S)
    other.rotate(at_once=False)  # by another process
    newer, _ = other.create(maker, "acme", 60)
    expect("rotated", text, True)
    expect("rotated", newer, True)
    clock.now += MAX_LIFETIME_S - 1
    expect("rotated", text, True)
    text, _ = links.create(maker, "acme", HOUR)
    other.rotate(at_once=True)
    expect("rotated out", text, False)
    text, _ = links.create(maker, "acme", HOUR)
    expect("valid", text, True)
    Tokens(engine, clock).revoke(maker.token_id)
    expect("of a revoked key", text, False)
    return found


class NoSignature(Links):
    def _signed(self, secret: bytes, said: str, signature: str) -> bool:
        super()._signed(secret, said, signature)
        return True


class NoEnd(Links):
    def _ended(self, statement: Statement, now: int) -> bool:
        return False


class AnyMaker(Links):
    def _made_by_a_valid_key(self, statement: Statement, now: int) -> bool:
        return True


class KeepsSecrets(Links):
    """Remembers a secret for good."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._kept: dict[str, bytes | None] = {}

    def _secret(self, id: str, now: int) -> bytes | None:
        return self._kept.setdefault(id, super()._secret(id, now))

    def create(self, *arguments: object) -> tuple[str, int]:
        made = super().create(*arguments)  # type: ignore[arg-type]
        self.verify(made[0])
        return made


class ForgetsSecrets(Links):
    def _secret(self, id: str, now: int) -> bytes | None:
        with transaction(self._engine) as connection:
            newest = self._newest(connection)
        return super()._secret(id, now) if newest is not None and newest["id"] == id else None


def test_who_is_let_in_and_who_is_not(engine: Engine) -> None:
    assert faults(Links, engine) == set()


@pytest.mark.parametrize(
    ("kind", "what"),
    [(NoSignature, "tampered"), (NoEnd, "expired"), (AnyMaker, "of a revoked key"), (KeepsSecrets, "rotated out"), (ForgetsSecrets, "rotated")],
)
@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
def test_a_broken_verifier_is_found(engine: Engine, kind: type[Links], what: str) -> None:
    assert what in faults(kind, engine)


@pytest.mark.parametrize("change", [
    lambda text: "rml_", lambda text: text[:-1], lambda text: text + "A", lambda text: text + "\n", lambda text: " " + text,
    lambda text: text.upper(), lambda text: text.replace(".", ""), lambda text: text.replace(".", ".."),
    lambda text: "rml_A" + text[text.index("."):],
    lambda text: "rml_" + "x" * 10_000_000, lambda text: text[:-1] + "é", lambda text: "rml_eyJ9" + text[text.index("."):],
])  # fmt: skip
@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
def test_what_is_no_link_asks_no_database(engine: Engine, change: Callable[[str], str]) -> None:
    tokens = Tokens(engine)
    links = Links(engine, tokens)
    text, _ = links.create(key_of(tokens), "acme", 900)
    engine.dispose()
    links._engine = None  # type: ignore[assignment]
    assert links.verify(change(text)) is None


def test_secrets_that_no_link_needs_any_longer_are_deleted(engine: Engine) -> None:
    clock = Clock(START)
    links = Links(engine, Tokens(engine, clock), clock)
    links.rotate(at_once=False)
    links.rotate(at_once=False)
    clock.now += KEPT_S - 1
    links.rotate(at_once=False)
    assert secrets_of(engine) == 3
    clock.now += 1
    links.rotate(at_once=False)
    assert secrets_of(engine) == 3  # the first one is gone
    links.rotate(at_once=True)
    assert secrets_of(engine) == 1


# -- the command ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "kept", "said"), [((), True, "24 hours at most"), (("--at-once",), False, "all older links have ended")])
def test_the_command_rotates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], kept: bool, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RATEMILL_API__DATABASE", f"sqlite:///{tmp_path}/x.db")
    engine = open_database(f"sqlite:///{tmp_path}/x.db")
    tokens = Tokens(engine)
    links = Links(engine, tokens)
    text, _ = links.create(key_of(tokens), "acme", 900)
    monkeypatch.setattr(sys, "argv", ["ratemill", "links", "rotate", *arguments])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()
    out = capsys.readouterr().out
    assert said in out
    assert (links.verify(text) is not None) is kept
    with transaction(engine) as connection:
        assert not any(secret in out for secret in connection.execute(select(link_secrets.c.secret)).scalars())
