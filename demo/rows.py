"""The rows of the demo: each as the usage event it decodes to, beside the cost, the rate and the digits its provider printed."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from ..cli.offline import decode_piece
from ..collectors.files import read_pieces
from ..pricing.money import ZERO, money
from ..schemas.decoders.reading import parse_json
from ..schemas.errors import BadInput, Rejection
from ..schemas.limits import DEFAULT_LIMITS
from ..schemas.usage_event import UsageEvent

__all__ = ["OTHER_CURRENCY", "SOURCES", "PricedRow", "Source", "half_unit", "read_rows"]

DATA = Path(__file__).parent / "data"
_HALF_AWS = money("0.00000000005")  # AWS prints quantities and costs with ten digits after the point, without trailing zeros
_CONVERTED = 7  # significant digits from which an Azure rate is taken as rounded (converted from another currency)


class Source(NamedTuple):
    """One file of the demo."""

    provider: str
    file: str
    format: str
    note: str = ""

    @property
    def path(self) -> str:
        """Where it lies in the package."""
        return str(DATA / self.file)


SOURCES = (
    Source("aws", "aws_cur_2023-11.csv", "aws-cur"),
    Source("azure", "azure_ea_actual_2023-09.csv", "azure-cost"),
    Source("azure", "azure_ea_amortized_2023-09.csv", "azure-cost", "repeats the usage of the file above"),
    Source("gcp", "gcp_export_2020-11.csv", "gcp-billing"),
    Source("gcp", "gcp_export_2022-08.csv", "gcp-billing"),
)
# A price book has one currency, and numbers of another one must not be added to it: this file is rated with a book of its own.
OTHER_CURRENCY = (Source("azure", "azure_ea_cad_2023-09.csv", "azure-cost", "CAD"),)


class PricedRow(NamedTuple):
    """One row. Halves: half a unit of the last printed digit, so the printed value is within that of the true one."""

    source: Source
    line: int
    event: UsageEvent | None  # None: money without usage, refused by the decoder
    refused: str
    product: str
    description: str
    currency: str
    cost: Decimal
    half_cost: Decimal
    half_quantity: Decimal
    rate: Decimal | None  # None: the provider prints none
    half_rate: Decimal

    @property
    def place(self) -> str:
        """File and line, for a person."""
        return f"{self.source.file}:{self.line}"


def read_rows(sources: Iterable[Source] = SOURCES) -> list[PricedRow]:
    """All rows of these files, in order."""
    rows = []
    for source in sources:
        for piece in read_pieces(source.path, source.format):
            entries = decode_piece(piece, source.format)
            columns: Any = parse_json(piece.value, DEFAULT_LIMITS)
            if len(entries) != 1 or not isinstance(columns, dict):
                raise BadInput(f"{source.path}:{piece.line}: not one row; the demo's data is damaged, install Ratemill again")
            (entry,) = entries
            event, refused = (None, str(entry)) if isinstance(entry, Rejection) else (entry, "")
            rows.append(_READ[source.provider](source, piece.line, event, refused, columns))
    return rows


def half_unit(text: str) -> Decimal:
    """Half a unit of the last printed digit of a number: "0.25" -> 0.005; whole numbers are counts, so 0."""
    exponent = money(text).as_tuple().exponent
    return money(f"5e{exponent - 1}") if isinstance(exponent, int) and exponent < 0 else ZERO


def _aws(source: Source, line: int, event: UsageEvent | None, refused: str, row: dict[str, str]) -> PricedRow:
    rate = row["lineItem/UnblendedRate"]
    return PricedRow(
        source, line, event, refused, row["product/ProductName"] or row["lineItem/ProductCode"], row["lineItem/LineItemDescription"],
        row["lineItem/CurrencyCode"], money(row["lineItem/UnblendedCost"] or "0"), _HALF_AWS, _HALF_AWS, money(rate) if rate else None, ZERO,
    )  # fmt: skip


def _azure(source: Source, line: int, event: UsageEvent | None, refused: str, row: dict[str, str]) -> PricedRow:
    cost = row.get("CostInBillingCurrency") or row["Cost"]
    rate = money(row["EffectivePrice"])
    rounded = len(rate.as_tuple().digits) >= _CONVERTED
    return PricedRow(
        source, line, event, refused, row["MeterCategory"], row.get("ProductName") or row["Product"],
        row.get("BillingCurrencyCode") or row["BillingCurrency"], money(cost), half_unit(cost), half_unit(row["Quantity"]),
        rate, half_unit(row["EffectivePrice"]) if rounded else ZERO,
    )  # fmt: skip


def _gcp(source: Source, line: int, event: UsageEvent | None, refused: str, row: dict[str, str]) -> PricedRow:
    # Costs have six digits, however they are spelled ("5e-06", "0.0"); amounts are full doubles.
    return PricedRow(
        source, line, event, refused, row["service.description"], row["sku.description"], row["currency"], money(row["cost"]),
        money("0.0000005"), ZERO, None, ZERO,
    )  # fmt: skip


_READ = {"aws": _aws, "azure": _azure, "gcp": _gcp}
