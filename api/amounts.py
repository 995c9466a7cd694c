"""Money and quantities in answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

__all__ = ["Amount"]

# An exact decimal in plain notation, as text: a JSON number would be read as a float.
Amount = Annotated[str, Field(json_schema_extra={"pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["12.5"]})]
