"""What can be asked of line items, for all routes that read them: whose, which ones, and by what they are grouped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query
from pydantic import Field

from ..sinks.dimensions import DIMENSIONS, Within
from .access import account_of, needs
from .tokens import Principal

__all__ = ["MOST_ROWS", "Asked", "Month", "Named", "Question", "Reader", "Selected", "Selection", "Whose"]

MOST_ROWS = 10_000  # of an answer; whoever wants more asks for one account or period at a time

_ONE = f"({'|'.join(DIMENSIONS)})"
_BY = f"^({_ONE}(,{_ONE})*)?$"
_MONTH = "^[0-9]{4}-(0[1-9]|1[0-2])$"
_INSTANT = "^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z$"
_TIME_OF = {"total": (), "hour": ("hour",), "day": ("day",), "month": ("period",)}

Reader = Annotated[Principal, Depends(needs("costs:read"))]
_Account = Annotated[str | None, Query(max_length=1_024, description="Only this account. A key of an account needs no such parameter.")]
Month = Annotated[str, Query(pattern=_MONTH, description="Billing month.", examples=["2026-11"])]
_Period = Annotated[str | None, Query(pattern=_MONTH, description="Only this billing month.", examples=["2026-11"])]
_Start = Annotated[str | None, Query(pattern=_INSTANT, description="Charge periods that begin then or later.", examples=["2026-11-01T00:00:00Z"])]
_End = Annotated[str | None, Query(pattern=_INSTANT, description="Charge periods that begin before then.", examples=["2026-11-02T00:00:00Z"])]
_Value = Annotated[str, Field(max_length=1_024)]


def _only(what: str, *examples: str) -> Any:
    text = f"Only this {what}; given several times, any of them; empty: line items that have none."
    return Query(max_length=100, description=text, examples=list(examples))


@dataclass(frozen=True)
class Selection:
    """Line items that are asked for; None: any. account: the server's own word, from the key. where: (dimension, values)."""

    account: str | None
    period: str | None
    within: Within
    where: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Question:
    """A selection, and the DIMENSIONS that it is grouped by. Equal questions have equal answers."""

    selection: Selection
    by: tuple[str, ...]


async def _whose(principal: Reader, account: _Account = None) -> str | None:
    return account_of(principal, account)


async def _named(principal: Reader, account: Annotated[str, Path(max_length=1_024, description="The account.")]) -> str | None:
    return account_of(principal, account)


Whose = Annotated[str | None, Depends(_whose)]
Named = Annotated[str, Depends(_named)]  # in the path


async def _selected(
    account: Whose,
    period: _Period = None,
    start: _Start = None,
    end: _End = None,
    provider: Annotated[list[_Value], _only("provider", "aws")] = [],  # noqa: B006 - FastAPI copies it
    region: Annotated[list[_Value], _only("region", "eu-west-1")] = [],  # noqa: B006
    sku: Annotated[list[_Value], _only("SKU", "acme.storage")] = [],  # noqa: B006
    resource: Annotated[list[_Value], _only("resource", "vm-1")] = [],  # noqa: B006
    service: Annotated[list[_Value], _only("service", "Acme Storage")] = [],  # noqa: B006
    category: Annotated[list[_Value], _only("charge category", "Usage")] = [],  # noqa: B006
) -> Selection:
    given = {"provider": provider, "region": region, "sku": sku, "resource": resource, "service": service, "category": category}
    where = tuple((name, tuple(sorted(set(values)))) for name, values in given.items() if values)
    return Selection(account, period, (start, end), where)


Selected = Annotated[Selection, Depends(_selected)]


async def _asked(
    selection: Selected,
    by: Annotated[str, Query(pattern=_BY, description=f"Dimensions, with commas between: {', '.join(DIMENSIONS)}. Empty: totals only.")] = "sku",
    granularity: Annotated[
        Literal["total", "hour", "day", "month"],
        Query(description="Adds a time to the group of each row: hour and day of the charge period in UTC, month as period, the billing month."),
    ] = "total",
) -> Question:
    return Question(selection, tuple(dict.fromkeys((*_TIME_OF[granularity], *(by.split(",") if by else ())))))


Asked = Annotated[Question, Depends(_asked)]
