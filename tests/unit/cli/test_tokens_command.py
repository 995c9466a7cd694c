"""`ratemill tokens`: what goes to which stream, what fits a terminal, what is refused, and that no secret is shown twice."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from ratemill.api.tokens import SCOPES, Tokens
from ratemill.cli.main import main
from ratemill.cli.tokens import parse_lifetime
from ratemill.schemas.errors import BadInput
from ratemill.store.database import open_database

CANARY = "canary-Kx7"
TOKEN = re.compile(r"rm_[a-z2-7]{12}_[A-Za-z0-9_-]{43}\n")


class Said(NamedTuple):
    """What a command did."""

    status: object
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`ratemill tokens …` in a folder, and with a database, of the test's own."""
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "API__DATABASE", "API__DATABASE_FILE"):
        monkeypatch.delenv(f"RATEMILL_{name}", raising=False)

    def tokens(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["ratemill", "tokens", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return Said(stopped.value.code, *capfd.readouterr())

    return tokens


def here() -> Tokens:
    return Tokens(open_database("sqlite:///.ratemill/api.db"))


def test_the_token_alone_is_on_standard_output_and_it_works(run: Run) -> None:
    said = run("create", "--name", "collector 7", "--scope", "events:write", "--scope", "costs:read", "--account", "acct-1")
    assert said.status == 0
    assert TOKEN.fullmatch(said.out)
    found = here().verify(said.out.strip())
    assert found is not None
    assert (found.account, found.scopes) == ("acct-1", {"events:write", "costs:read"})
    assert f"token {found.token_id} (collector 7), for the account acct-1, events:write, costs:read, until 20" in said.err
    assert said.out[16:].strip() not in said.err
    assert abs(here().list()[0].expires_at - time.time() - 90 * 86_400) < 60  # the default


def test_no_secret_is_shown_again(run: Run) -> None:
    secret = run("create", "--name", "n", "--scope", "admin", "--expires", "12h").out.strip()[16:]
    for arguments in (["list"], ["list", "--json"]):
        said = run(*arguments)
        assert said.status == 0
        assert secret not in said.out + said.err


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_the_table_fits_and_ids_can_be_copied(run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    for account in ([], ["--account", "an-account-with-a-rather-long-name"]):
        for scopes in (["costs:read", "events:write"], ["costs:read"] if account else SCOPES):
            run("create", "--name", "of the collectors in the north", *account, *(part for scope in scopes for part in ("--scope", scope)))
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run("list").out.splitlines()
    assert max(map(len, lines)) <= width
    assert all(any(token.id in line for line in lines) for token in here().list())
    if width >= 80:
        assert sum("valid" in line for line in lines) == 4
        assert sum(any(scope in line for scope in SCOPES) for line in lines) >= 4


def test_json_has_everything_but_the_secret(run: Run) -> None:
    assert run("list").out == "no tokens\n"
    run("create", "--name", "a", "--scope", "prices:read", "--expires", "1h")
    run("create", "--name", "b", "--scope", "costs:read", "--account", "acct-ü")
    run("revoke", here().list()[1].id if here().list()[1].name == "b" else here().list()[0].id)
    found = {each["name"]: each for each in json.loads(run("list", "--json").out)["tokens"]}
    assert list(found["a"]) == ["id", "name", "account", "scopes", "created_at", "expires_at", "revoked_at", "state"]
    assert (found["a"]["account"], found["a"]["scopes"], found["a"]["revoked_at"], found["a"]["state"]) == (None, ["prices:read"], None, "valid")
    assert (found["b"]["account"], found["b"]["state"]) == ("acct-ü", "revoked")
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["b"][name]) for name in ("created_at", "expires_at", "revoked_at"))


def test_a_revoked_token_is_worth_nothing_and_a_leaked_one_can_be_pasted(run: Run) -> None:
    made = [run("create", "--name", "n", "--scope", "admin").out.strip() for _ in range(3)]
    said = run("revoke", made[0][3:15], "a" * 12, made[1])  # one is unknown: the others are revoked all the same
    assert said.status == 2
    assert said.out == f"revoked {made[0][3:15]}\nrevoked {made[1][3:15]}\n"
    assert said.err == f"error: no token has the id {'a' * 12}; `ratemill tokens list` shows those there are\n"
    assert [here().verify(text) is not None for text in made] == [False, False, True]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["create", "--scope", "admin"], "--name"),
        (["create", "--name", "n"], "--scope"),
        (["create", "--name", "n", "--scope", "all"], "events:write"),
        (["create", "--name", " ", "--scope", "admin"], "the name is empty"),
        (["create", "--name", "n", "--scope", "admin", "--account", "a"], "cannot have the scope admin"),
        (["create", "--name", "n", "--scope", "admin", "--expires", "never"], "--expires 'never'"),
        (["create", "--name", "n", "--scope", "admin", "--expires", "367d"], "at most 366 days"),
        (["create", "--name", "n", "--scope", "admin", "--expires", "0h"], "must expire"),
        (["revoke"], "ID"),
        (["revoke", f"rm_{CANARY}"], "no id of a token"),
    ],
)
def test_what_is_refused_makes_nothing(run: Run, arguments: list[str], why: str) -> None:
    said = run(*arguments)
    assert (said.status, said.out) == (2, "")
    assert why in said.err
    assert CANARY not in said.err
    assert here().list() == []


def test_a_database_that_is_not_there_is_one_line_without_the_password(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for url, status in ((f"postgresql://u:{CANARY}@127.0.0.1:1/d", 1), (f"mysql://u:{CANARY}@127.0.0.1/d", 2)):
        monkeypatch.setenv("RATEMILL_API__DATABASE", url)
        said = run("list")
        assert (said.status, said.out, len(said.err.splitlines())) == (status, "", 1)
        assert CANARY not in said.err


def test_lifetimes() -> None:
    assert [parse_lifetime(text) for text in ("12h", "90d", "2w")] == [12 * 3_600, 90 * 86_400, 14 * 86_400]
    for text in ("", "d", "90", "90 d", "1.5d", "-1d", "1y", "٣d", "9999999d", "1d\n"):
        with pytest.raises(BadInput, match="12h, 90d or 26w"):
            parse_lifetime(text)
