"""Opens the control database: SQLite in a file for one machine, PostgreSQL for several. It is migrated to the newest schema.

Nothing here prints a URL: it may hold a password.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..schemas.addresses import is_here
from ..schemas.errors import BadConfig, BadInput, NewerSchema, Unavailable
from .tables import metadata

__all__ = ["open_database", "transaction"]

SETTING = "configuration: api.database"
FORMS = "write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
VERSION_TABLE = "ratemill_schema"  # not Alembic's own name, which another program in the same database may use
LOCK = 0x7261_7465_6D69_6C6C  # of PostgreSQL, held while migrating: "ratemill" in ASCII
WAIT_S = 10  # for a connection, and for another writer of SQLite
MIGRATION_WAIT_S = 60  # for another process that migrates
WHERE = "ratemill_where"  # option of an engine: what its errors begin with
TLS_MODES = ("require", "verify-ca", "verify-full")
_MIGRATIONS = Path(__file__).parent / "migrations"
_ALEMBIC = threading.Lock()  # what it works on is global to the process


def open_database(url: str) -> Engine:
    """The database behind a URL, migrated to the newest schema.

    url: `sqlite:///FILE` (relative to the current folder; four slashes: absolute) or `postgresql://USER:PASSWORD@HOST:PORT/NAME?OPTIONS`.
    Raises BadConfig for another URL or without psycopg, Unavailable when the database cannot be reached or used, NewerSchema when a newer
    Ratemill migrated it, BadInput when something else did. No error holds a password.
    """
    engine, where = _sqlite(url) if url.startswith("sqlite:") else _postgresql(url)
    try:
        _migrate(engine, where)
        if engine.dialect.name == "sqlite":
            _write_ahead(engine)
    except (DBAPIError, PoolTimeout) as error:
        engine.dispose()
        _unavailable(engine, error)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction: committed at the end, rolled back by an error. Raises Unavailable when the database does not answer."""
    try:
        with engine.begin() as connection:
            yield connection
    except IntegrityError:  # what was written, not the database, is wrong: the caller knows what that means
        raise
    except (DBAPIError, PoolTimeout) as error:
        _unavailable(engine, error)


def _sqlite(url: str) -> tuple[Engine, str]:
    name = url.removeprefix("sqlite:///")
    if name in (url, "", ":memory:") or "?" in name or "\0" in name:
        raise BadConfig([f"{SETTING}: a SQLite database needs a file, and takes no options; write sqlite:///FILE"])
    path = Path(name).absolute()  # the file stays the same if the current folder changes
    where = f"the database {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _private(path)
    except OSError as error:
        raise Unavailable(f"{where} cannot be opened: {error.strerror}; give a file that can be written to in api.database") from error
    # Without SQLAlchemy's and Python's own idea of when a transaction begins: tables, too, are made in one.
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        connect_args={"isolation_level": None},
        hide_parameters=True,
        execution_options={WHERE: where},
    )

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA busy_timeout = {WAIT_S * 1_000}")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("immediate") else "BEGIN")

    return engine, where


def _private(path: Path) -> None:
    """Make the file for its owner only. SQLite gives the files beside it the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        # By its name: to open and close a file that SQLite has open in this process would drop SQLite's locks on it.
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _write_ahead(engine: Engine) -> None:
    """Let readers and a writer not wait for each other. The file remembers it."""
    deadline = time.monotonic() + WAIT_S
    while True:
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.Error as error:
            # The busy timeout does not hold for this: two processes that switch at once see it fail.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise DBAPIError("PRAGMA journal_mode", None, error) from error
            time.sleep(0.05)
        finally:
            connection.close()


def _postgresql(url: str) -> tuple[Engine, str]:
    parts = _parts(url)
    # The address only, and only what `_parts` has found to be one.
    where = f"PostgreSQL at {parts.host or 'the local socket'}{f':{parts.port}' if parts.port else ''}"
    try:
        engine = create_engine(
            parts.set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": WAIT_S}, pool_pre_ping=True, hide_parameters=True,
            execution_options={WHERE: where},
        )  # fmt: skip
    except ImportError:
        raise BadConfig([f"{SETTING}: PostgreSQL needs a driver that is not installed; pip install ratemill[postgresql]"]) from None
    return engine, where


def _parts(url: str) -> URL:
    """Parts of a postgresql:// URL. Raises BadConfig, from nothing: what libraries say of a URL may repeat it."""
    parts: URL | None = None
    if url.startswith("postgresql://"):
        try:
            parts = make_url(url)
        except (ArgumentError, ValueError):  # the port is no number
            parts = None
    if parts is None:
        raise BadConfig([f"{SETTING}: it is no address of a database that is supported; {FORMS}"])
    if any("@" in each for each in (parts.host or "", parts.database or "", *parts.query)) or not parts.database:
        raise BadConfig([f"{SETTING}: it is no postgresql:// address with a NAME at its end; {FORMS}, with %40 for @ in a password"])
    given = parts.normalized_query
    mode, hosts = parts.query.get("sslmode"), [parts.host or "", *given.get("host", ()), *given.get("hostaddr", ())]
    here = all(not host or host.startswith("/") or is_here(host) for host in hosts)
    if not here and mode not in (*TLS_MODES, "disable"):
        # psycopg's own default is to go on without TLS where the server has none: somebody has to say so.
        raise BadConfig([
            f"{SETTING}: PostgreSQL on another machine may be reached in the clear; add ?sslmode=verify-full, or ?sslmode=disable if you mean it"
        ])  # fmt: skip
    return parts


def _migrate(engine: Engine, where: str) -> None:
    """Bring the schema up to date, in one transaction; of several processes that start at once, one does it and the others wait."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        if _is_newest(connection, script, where):  # no lock and no right to change tables is needed
            return
    with engine.connect().execution_options(immediate=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = '{MIGRATION_WAIT_S}s'"))
            connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
        if not _is_newest(connection, script, where):  # another one may have done it meanwhile
            config.attributes.update(connection=connection, version_table=VERSION_TABLE, metadata=metadata)
            with _ALEMBIC:
                command.upgrade(config, "head")


def _is_newest(connection: Connection, script: ScriptDirectory, where: str) -> bool:
    """Whether nothing is to be done. Raises NewerSchema or BadInput for a schema that this Ratemill does not know."""
    found = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads()
    known = {each.revision for each in script.walk_revisions()}
    newest = script.get_current_head() or ""
    for revision in found:
        if revision not in known:
            if revision.isdigit():
                raise NewerSchema(where, int(revision), int(newest))
            raise BadInput(f"{where} has a schema that is not Ratemill's; name another one in api.database")
    return found == (newest,)


def _unavailable(engine: Engine, error: Exception) -> NoReturn:
    """Raise what the driver said as one line, without the password."""
    said = str(error.orig) if isinstance(error, DBAPIError) else "all connections are in use"
    for secret in _secrets(engine.url):
        said = said.replace(secret, "…")
    where = engine.get_execution_options().get(WHERE, "the database")
    line = " ".join(said.split())[:300].rstrip(".;")
    raise Unavailable(f"{where} cannot be used: {line}; see that it runs and that api.database is right") from error


def _secrets(url: URL) -> list[str]:
    given = [value for name, values in url.normalized_query.items() if "pass" in name for value in values]
    return [each for each in (url.password, *given) if each]
