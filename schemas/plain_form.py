"""The plain form of CloudEvents with usage, as JSON Schema: what collectors are asked to send (docs/inputs.md)."""

from __future__ import annotations

from typing import Any

__all__ = ["EVENT", "EVENT_SCHEMA"]

EVENT: dict[str, Any] = {
    "specversion": "1.0", "id": "b3f1", "source": "aws/eu-west-1/collector-7", "type": "com.example.usage", "subject": "acme",
    "time": "2026-11-27T09:00:00Z", "data": {"sku": "egress", "quantity": "1.25", "unit": "GB", "region": "eu-west-1"},
}  # fmt: skip
_TEXT = {"type": "string", "minLength": 1, "maxLength": 1024}
EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "A CloudEvent with usage as its data; of another `format`, whatever its provider sends.",
    "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
    "properties": {
        "specversion": {"const": "1.0"}, "id": _TEXT, "source": _TEXT, "type": _TEXT, "subject": {**_TEXT, "description": "The account."},
        "time": {"type": "string", "format": "date-time"},
        "data": {
            "type": "object",
            "required": ["sku", "quantity", "unit"],
            "properties": {
                "sku": _TEXT, "unit": _TEXT, "region": {"type": "string"}, "resource": {"type": "string"}, "provider": {"type": "string"},
                "quantity": {"type": ["string", "number"], "description": "Exact; a text keeps every digit on the way."},
                "dimensions": {"type": "object", "additionalProperties": {"type": "string"}},
                "tags": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
    },
}  # fmt: skip
