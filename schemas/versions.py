"""Schema numbers in JSON records: what says that a newer Ratemill wrote a record that this one must not guess at.

Every record that Ratemill writes and reads again has a number, `"schema": 1` in JSON; where there is none, it is 1. It grows when an
older Ratemill would misread the new form or lose something of it.
"""

from __future__ import annotations

import msgspec

from .errors import NewerSchema

__all__ = ["refuse_newer"]


class _Head(msgspec.Struct):
    schema: int = 1


_decode = msgspec.json.Decoder(_Head).decode


def refuse_newer(value: bytes, known: int, where: str) -> None:
    """Raises NewerSchema when a JSON object has a schema above `known`; what is no such object is not judged here."""
    try:
        found = _decode(value).schema
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    if found > known:
        raise NewerSchema(where, found, known)
