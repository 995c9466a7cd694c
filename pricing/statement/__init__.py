"""What an account's month costs beyond its SKUs: an ordered pipeline of adjustments, one file each. Pure and exact."""

from __future__ import annotations

from .pipeline import statement
from .terms import Charge, Statement, Terms, Usage

__all__ = ["Charge", "Statement", "Terms", "Usage", "statement"]
