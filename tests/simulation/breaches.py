"""Negative controls: the production code with one guarantee taken away. Each must be caught."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

__all__ = ["BREACHES"]


BREACHES: dict[str, Callable[[], None]] = {}
