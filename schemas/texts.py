"""What a text of an event may hold, whichever way it comes in."""

from __future__ import annotations

import re

from .limits import DEFAULT_LIMITS

__all__ = ["CONTROLS", "MAX_TEXT", "check_characters"]

# C0 and C1 controls and DEL: identity and fingerprint separate fields with NUL, and a terminal shows these fields.
# Surrogates are half characters ("\ud800" in JSON) that cannot be written as UTF-8.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
MAX_TEXT = DEFAULT_LIMITS.max_text_chars


def check_characters(name: str, value: str) -> None:
    """Raise ValueError for a text that is too long, or holds control characters."""
    if len(value) > MAX_TEXT:
        raise ValueError(f"the {name} has {len(value)} characters, at most {MAX_TEXT} are kept")
    if CONTROLS.search(value) is not None:
        raise ValueError(f"the {name} holds control characters; write it on one line")
