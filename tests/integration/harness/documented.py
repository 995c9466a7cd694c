"""The tables of rights in docs/security.md, read, so that tests give exactly what it says."""

from __future__ import annotations

import re
from pathlib import Path

from .secure_elasticsearch import Rights
from .secure_kafka import Acl

__all__ = ["elasticsearch_rights", "kafka_rights"]

PAGE = Path(__file__).parents[3] / "docs" / "security.md"


def _rows(table: str, role: str) -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8")
    body = text.split(f"<!-- {table}: begin -->")[1].split(f"<!-- {table}: end -->")[0]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in body.strip().splitlines()[2:]]
    found = [row[1:] for row in rows if row[0] == role]
    assert found, f"{PAGE.name} has no role {role}"
    return found


def kafka_rights(role: str, prefix: str) -> list[Acl]:
    """What a role may do, for a Ratemill with a topic prefix."""
    acls = []
    for resource, pattern, name, operations in _rows("kafka rights", role):
        own = name.strip("`")
        # The group of invoice jobs is theirs, not Ratemill's.
        full = own if own.startswith("invoice-") else prefix + own
        acls += [Acl(resource, pattern, full, operation.strip()) for operation in operations.split(",")]
    return acls


def elasticsearch_rights(role: str, prefix: str) -> Rights:
    """The same for Elasticsearch."""
    cluster: frozenset[str] = frozenset()
    indices: dict[str, frozenset[str]] = {}
    for scope, on, privileges in _rows("elasticsearch rights", role):
        named = frozenset(re.findall(r"`(\w+)`", privileges))
        if scope == "cluster":
            cluster |= named
        else:
            indices[on.strip("`").replace("PREFIX", prefix)] = named
    return Rights(cluster, indices)
