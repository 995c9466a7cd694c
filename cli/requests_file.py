"""Control requests from a file, for rating offline."""

from __future__ import annotations

from pathlib import Path

from ..schemas.control import Receipt, Request, decode_control
from ..schemas.errors import BadInput

__all__ = ["read_requests"]


def read_requests(file: Path) -> list[Request]:
    """Requests of an NDJSON file, in its order; receipts are left out. Raises BadInput with file and line."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise BadInput(f"{file}: {(error.strerror or str(error)).lower()}; give a file of control requests") from error
    found: list[Request] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = decode_control(line)
        except BadInput as error:
            raise BadInput(f"{file}:{number}: {error}") from error
        if not isinstance(record, Receipt):
            found.append(record)
    return found
