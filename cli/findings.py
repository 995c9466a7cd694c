"""What `ratemill doctor` says of one check."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Finding", "failed", "ok", "problem", "warning"]


class Finding(NamedTuple):
    """One line of the report."""

    check: str
    status: Literal["ok", "warning", "problem"]
    text: str
    what_to_do: str = ""


def ok(check: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding(check, "ok", text)


def warning(check: str, text: str, what_to_do: str) -> Finding:
    """Somebody should look at it; the exit status stays 0."""
    return Finding(check, "warning", text, what_to_do)


def problem(check: str, text: str, what_to_do: str) -> Finding:
    """It does not work; the exit status is 1."""
    return Finding(check, "problem", text, what_to_do)


def failed(check: str, where: str, error: str, otherwise: str, more: str = "") -> Finding:
    """A problem that an error tells of: "what; what to do", as ours are written, or only what, and then `otherwise` is to be done."""
    what, _, to_do = error.rpartition("; ")
    return problem(check, where + (what or error), (to_do if what else otherwise) + more)
