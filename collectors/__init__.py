"""From usage files to raw records, and from raw records to the raw topics. Nothing here decides what usage counts."""

from __future__ import annotations

from .files import Piece, read_pieces

__all__ = ["Piece", "read_pieces"]
