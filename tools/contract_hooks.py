"""What schemathesis has to be told: lines of JSON are sent as they are."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(context: Any, value: Any) -> bytes:
    """The bytes of a body."""
    return value if isinstance(value, bytes) else str(value).encode()
