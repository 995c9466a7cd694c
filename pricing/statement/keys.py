"""Keys of line items: stable within (account, month, adjustment), and different wherever their parts are."""

from __future__ import annotations

__all__ = ["joined", "key", "parts_of"]


def joined(*parts: str) -> str:
    """Parts as one key: ("a/b", "c") and ("a", "b/c") must differ."""
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def parts_of(text: str) -> list[str]:
    """The parts that `joined` made a key of."""
    return [part.replace("%2F", "/").replace("%25", "%") for part in text.split("/")]


def key(sku: str, *before: str) -> str:
    """Key of what an adjustment does to one SKU: `sku/<sku>`, after other parts."""
    return joined(*before, "sku", sku)
