"""Line items as FOCUS rows: a projection for each version of the specification, files of them, and an exact check (docs/focus.md)."""

from __future__ import annotations

from .check import Checked, check
from .columns import VERSIONS, columns_of
from .files import FORMATS, read_rows, write_rows
from .projection import row_of

__all__ = ["FORMATS", "VERSIONS", "Checked", "check", "columns_of", "read_rows", "row_of", "write_rows"]
