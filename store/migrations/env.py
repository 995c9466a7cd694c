"""What Alembic runs to migrate. The connection comes from `database.py`, in a transaction of its own that holds the lock."""

from __future__ import annotations

from alembic import context

__all__: list[str] = []


def _run() -> None:
    given = context.config.attributes
    context.configure(connection=given["connection"], version_table=given["version_table"], target_metadata=given["metadata"])
    with context.begin_transaction():
        context.run_migrations()


# Alembic runs this file by its path, outside of any package. Importing it as a part of ours does nothing.
if not __package__:
    _run()
