"""Databases to test on: SQLite always, and a private PostgreSQL where one is installed."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from ratemill.store.database import open_database
from sqlalchemy import Engine

PASSWORD = "canary-Kx7"
# It ends when its standard input does: also when pytest is killed.
UNTIL_CLOSED = '"$@" & read _; kill -INT $!; wait $!'


def program(name: str) -> str | None:
    """Where a program of PostgreSQL is; the newest, where it is not on the PATH."""
    packaged = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: int(path.split("/")[4].split(".")[0]))
    return shutil.which(name) or (packaged[-1] if packaged else None)


def other_user() -> dict[str, Any]:
    """Arguments of Popen: PostgreSQL refuses to run as root."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL does not run as root, and there is no other user")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a running PostgreSQL of our own, without the name of a database."""
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not installed")
    user = other_user()
    # Not below pytest's own folder, which another user cannot enter; and short, for the path of a socket.
    folder = Path(tempfile.mkdtemp(prefix="ratemill-pg-"))
    try:
        (folder / "password").write_text(PASSWORD, encoding="utf-8")
        if user:
            for path in (folder, folder / "password"):
                os.chown(path, user["user"], user["group"])
        made = subprocess.run(
            [initdb, "-D", str(folder / "data"), "-U", "owner", "-A", "scram-sha-256", "--pwfile", str(folder / "password"), "-E", "UTF8", "-N"],
            cwd=folder, capture_output=True, text=True, timeout=120, check=False, **user,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = [f"-cport={port}", "-clisten_addresses=127.0.0.1", f"-cunix_socket_directories={folder}", "-cfsync=off", "-cshared_buffers=16MB"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                ["sh", "-c", UNTIL_CLOSED, "sh", postgres, "-D", str(folder / "data"), *options],
                cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log, **user,
            )  # fmt: skip
        try:
            url = f"postgresql://owner:{PASSWORD}@127.0.0.1:{port}"
            wait_for(url, folder / "log")
            yield url
        finally:
            server.communicate(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(f"{url}/postgres", connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start: {log.read_text(errors='replace')[-2_000:]}")
            time.sleep(0.1)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes a new, empty database: its URL."""
    server: str = request.getfixturevalue("postgresql") if request.param == "postgresql" else ""

    def make() -> str:
        name = f"d{uuid.uuid4().hex}"
        if not server:
            return f"sqlite:///{tmp_path / name}.db"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"{server}/{name}"

    return make


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """URL of an empty database of the test's own."""
    return new_url()


@pytest.fixture
def engine(url: str) -> Engine:
    """That database, with the newest schema."""
    return open_database(url)
