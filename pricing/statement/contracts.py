"""The terms of every account, as a price book holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .terms import Step, Terms

__all__ = ["NO_CONTRACTS", "Contracts"]


@dataclass(frozen=True, slots=True)
class Contracts:
    """Immutable. digest is "" when a book has neither adjustments nor accounts."""

    digest: str = ""
    general: Terms | None = None  # of every account that is not in by_account; None: nothing
    by_account: Mapping[str, Terms | None] = field(default_factory=lambda: MappingProxyType({}))
    named: tuple[str, ...] = ()  # accounts of the `accounts:` section, sorted
    currencies: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # of accounts whose currency is not the book's
    pipeline: tuple[tuple[Step, tuple[str, ...]], ...] = ()  # every adjustment in the order written, with its accounts; () is all of them

    def terms_of(self, account: str) -> Terms | None:
        """What holds for an account, None when nothing does."""
        return self.by_account.get(account, self.general)


NO_CONTRACTS = Contracts()
