"""The control database: how it is opened and migrated, on SQLite and on PostgreSQL, and what is said when it cannot be."""

from __future__ import annotations

import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from ratemill.schemas.errors import BadConfig, BadInput, NewerSchema, RatemillError, Unavailable
from ratemill.store import database
from ratemill.store.database import LOCK, VERSION_TABLE, open_database, transaction
from ratemill.store.tables import metadata, tokens
from sqlalchemy import Engine, create_engine, func, inspect, make_url, select, text

CANARY = "canary-Kx7"  # as in conftest.py
NEWEST = "0004"

# Opens each of the databases at the word, and says which schema it then has.
OPENER = """
import sys
from ratemill.store.database import VERSION_TABLE, open_database
from sqlalchemy import text
print("ready", flush=True)
for line in sys.stdin:
    engine = open_database(line.strip())
    with engine.connect() as connection:
        print(*connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars(), flush=True)
    engine.dispose()
"""


def plain(url: str) -> Engine:
    """The database without anything of ours."""
    return create_engine(make_url(url).set(drivername="sqlite" if url.startswith("sqlite") else "postgresql+psycopg"))


def versions(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars())


def refused(url: str, kind: type[RatemillError]) -> str:
    """What is said: one line, without the password."""
    with pytest.raises(kind) as raised:
        open_database(url)
    said = str(raised.value)
    assert "\n" not in said
    assert CANARY not in said
    return said


def write_and_fail(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(tokens.insert().values(id="a", name="", secret_hash="", scopes="", created_at=0, expires_at=0))
        raise ZeroDivisionError


# -- migrations ----------------------------------------------------------------------------------------------------------


def test_an_empty_database_gets_the_newest_schema(url: str) -> None:
    engine = open_database(url)
    assert set(inspect(engine).get_table_names()) == {VERSION_TABLE, *metadata.tables}
    assert versions(engine) == [NEWEST]
    with engine.connect() as connection:  # what the migrations made is what tables.py says
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_table_that_no_migration_makes_is_found(url: str) -> None:
    engine = open_database(url)
    with transaction(engine) as connection:
        connection.execute(text("ALTER TABLE tokens DROP COLUMN name"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert [change[0] for change in compare_metadata(context, metadata)] == ["add_column"]


def test_opening_it_again_changes_nothing(url: str) -> None:
    row = {"id": "a" * 12, "name": "n", "secret_hash": "0" * 64, "account": None, "scopes": "admin", "created_at": 1, "expires_at": 2**40}
    first = open_database(url)
    with transaction(first) as connection:
        connection.execute(tokens.insert().values(row))
    first.dispose()
    with transaction(open_database(url)) as connection:
        assert connection.execute(select(tokens)).mappings().one() == {**row, "revoked_at": None}


def test_a_database_from_before_the_alerts_keeps_its_tokens(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = database.command.upgrade
    monkeypatch.setattr(database.command, "upgrade", lambda config, _: real(config, "0001"))
    with transaction(open_database(url)) as connection:
        connection.execute(tokens.insert().values(id="a" * 12, name="n", secret_hash="0" * 64, scopes="admin", created_at=1, expires_at=2))
    assert versions(plain(url)) == ["0001"]
    monkeypatch.undo()
    engine = open_database(url)
    assert versions(engine) == [NEWEST]
    with transaction(engine) as connection:
        assert connection.execute(select(tokens.c.name)).scalars().all() == ["n"]


def test_a_migration_that_fails_half_way_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def upgrade(config: database.Config, _revision: str) -> None:
        config.attributes["connection"].execute(text("CREATE TABLE half (x INTEGER)"))
        raise KeyboardInterrupt

    monkeypatch.setattr(database.command, "upgrade", upgrade)
    with pytest.raises(KeyboardInterrupt):
        open_database(url)
    assert inspect(plain(url)).get_table_names() == []
    monkeypatch.undo()
    assert versions(open_database(url)) == [NEWEST]


def test_the_schema_of_a_newer_ratemill_is_refused_and_stays(url: str) -> None:
    with transaction(open_database(url)) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0099'"))
    assert "has schema 99, this Ratemill knows schemas up to 4;" in refused(url, NewerSchema)
    assert versions(plain(url)) == ["0099"]


def test_the_schema_of_something_else_is_refused(url: str) -> None:
    with transaction(open_database(url)) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'f00'"))
    assert "not Ratemill's" in refused(url, BadInput)


def test_a_table_of_somebody_else_is_not_taken_over(url: str) -> None:
    engine = plain(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE tokens (x INTEGER)"))
    assert "already exists" in refused(url, Unavailable)
    assert inspect(plain(url)).get_table_names() == ["tokens"]


def test_it_waits_for_another_process_that_migrates(url: str) -> None:
    engine, opened = plain(url), []
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(select(func.pg_advisory_lock(LOCK)))
        thread = threading.Thread(target=lambda: opened.append(open_database(url)))
        thread.start()
        thread.join(1.0)
        assert thread.is_alive()
        connection.rollback()
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_unlock(LOCK)))
        else:
            connection.close()
    thread.join(30)
    assert [versions(each) for each in opened] == [[NEWEST]]


def test_processes_that_open_an_empty_database_at_once(new_url: Callable[[], str]) -> None:
    command = [sys.executable, "-c", OPENER]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for _ in range(5):
            url = new_url()
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(url + "\n")
                process.stdin.flush()
            assert [process.stdout.readline() for process in processes if process.stdout is not None] == [f"{NEWEST}\n"] * 3
    finally:
        errors = [process.communicate(timeout=60)[1] for process in processes]
    assert errors == [""] * 3


def test_threads_that_open_different_databases_at_once(new_url: Callable[[], str]) -> None:
    urls, opened = [new_url() for _ in range(8)], list[Engine]()
    threads = [threading.Thread(target=lambda url=url: opened.append(open_database(url))) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [versions(engine) for engine in opened] == [[NEWEST]] * 8


# -- opening -------------------------------------------------------------------------------------------------------------


def test_sqlite_is_for_its_owner_only_and_makes_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "api.db"
    engine = open_database(f"sqlite:///{path}")
    with transaction(engine) as connection:
        connection.execute(tokens.delete())
        pragmas = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "foreign_keys", "busy_timeout")}
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 10_000}
    assert modes == {"api.db": 0o600, "api.db-wal": 0o600, "api.db-shm": 0o600}


def test_a_writer_does_not_keep_sqlite_from_being_opened(tmp_path: Path) -> None:
    url, opened = f"sqlite:///{tmp_path}/api.db", []
    open_database(url).dispose()
    with plain(url).connect() as writer:
        assert writer.exec_driver_sql("PRAGMA journal_mode = DELETE").scalar() == "delete"  # as before the first process has switched
        writer.exec_driver_sql("BEGIN IMMEDIATE")
        thread = threading.Thread(target=lambda: opened.append(open_database(url)))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(30)
    with opened[0].connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_sqlite_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    path.touch(0o644)
    open_database(f"sqlite:///{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_relative_path_is_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = open_database("sqlite:///here.db")
    monkeypatch.chdir("/")
    assert versions(engine) == [NEWEST]
    assert (tmp_path / "here.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "", "api.db", f"mysql://u:{CANARY}@h/d", f"postgres://u:{CANARY}@h/d", f"postgresql+asyncpg://u:{CANARY}@h/d", f"http://u:{CANARY}@h/d",
        "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:api.db", "sqlite:///a.db?mode=ro", "sqlite+aiosqlite:///a.db",
        f"postgresql://u:{CANARY}@127.0.0.1", f"postgresql://u:{CANARY}@127.0.0.1:port/d", f"postgresql://u:a@{CANARY}@127.0.0.1/d",
        f"postgresql://u/v:{CANARY}@127.0.0.1/d",
        f"postgresql://u:a@{CANARY}@127.0.0.1/d?sslmode=disable", f"postgresql://u/v:{CANARY}@127.0.0.1/d?sslmode=disable", f"postgresql://u:{CANARY}",
    ],
)  # fmt: skip
def test_another_url_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(url, BadConfig)
    assert said.startswith("configuration: api.database: ")
    assert "; " in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["10.0.0.7", "db.example", "127.0.0.1,db.example"])
def test_another_machine_is_not_reached_in_the_clear_unless_somebody_says_so(host: str) -> None:
    for options in ("", "?sslmode=prefer", "?sslmode=allow"):
        assert "sslmode=verify-full" in refused(f"postgresql://u:{CANARY}@{host}/d{options}", BadConfig)
    assert "sslmode" in refused(f"postgresql://u:{CANARY}@127.0.0.1/d?host={host}", BadConfig)
    for mode in ("require", "verify-full", "disable"):
        assert database._parts(f"postgresql://u:{CANARY}@{host}/d?sslmode={mode}").database == "d"


def test_postgresql_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install ratemill[postgresql]" in refused(f"postgresql://u:{CANARY}@127.0.0.1/d", BadConfig)


# -- what cannot be used -------------------------------------------------------------------------------------------------


def test_no_postgresql_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = free.getsockname()[1]
        assert refused(f"postgresql://u:{CANARY}@127.0.0.1:{port}/d?sslpassword={CANARY}", Unavailable).startswith(f"PostgreSQL at 127.0.0.1:{port} ")


def test_postgresql_that_does_not_let_us_in(postgresql: str) -> None:
    assert "password authentication failed" in refused(postgresql.replace(CANARY, f"wrong-{CANARY}") + "/postgres", Unavailable)
    assert "does not exist" in refused(f"{postgresql}/nowhere", Unavailable)
    # Even when the driver repeats it.
    assert "…" in refused(f"{postgresql}/{CANARY}", Unavailable)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "api.db").write_text("something else" * 100)
    assert "not a database" in refused(f"sqlite:///{tmp_path}/api.db", Unavailable)
    assert (tmp_path / "api.db").read_text() == "something else" * 100


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be opened" in refused(f"sqlite:///{tmp_path}/file/api.db", Unavailable)
    assert "cannot be" in refused(f"sqlite:///{tmp_path}", Unavailable)


def test_a_database_that_goes_away_is_unavailable_and_an_error_of_the_caller_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "api.db"
    engine = open_database(f"sqlite:///{path}")
    with pytest.raises(ZeroDivisionError):
        write_and_fail(engine)
    with transaction(engine) as connection:
        assert connection.execute(select(tokens)).all() == []  # rolled back
    engine.dispose()
    path.unlink()
    path.mkdir()
    with pytest.raises(Unavailable, match=re.escape(f"the database {path} cannot be used")), transaction(engine):
        pass


@pytest.mark.parametrize("new_url", ["postgresql"], indirect=True)
def test_postgresql_that_dropped_our_connections_is_asked_again(postgresql: str, url: str) -> None:
    engine = open_database(url)
    with transaction(engine) as connection:
        connection.execute(select(tokens))
    with create_engine(make_url(f"{postgresql}/postgres").set(drivername="postgresql+psycopg")).connect() as connection:
        name = make_url(url).database
        connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name})
    with transaction(engine) as connection:
        assert connection.execute(select(tokens)).all() == []
