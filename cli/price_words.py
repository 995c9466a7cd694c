"""The amounts of a price in words, for people: what each tier, cell or band costs."""

from __future__ import annotations

from decimal import localcontext

from ..pricing.models import tier_name
from ..pricing.money import EXACT, money, plain
from ..pricing.price import Price
from ..pricing.selection import ANY, DAYS, Band, clock_text

__all__ = ["amounts_in_words", "band_in_words"]

CELLS_SHOWN = 20  # of a matrix; more are read in the file


def amounts_in_words(price: Price) -> list[str]:
    """One line per tier, cell or band, and what goes with them."""
    if price.model == "package":
        return [f"{plain(price.package_price)} per started {plain(price.package_size)}"]
    if price.model == "percentage":
        return _percentage(price)
    if price.model == "dynamic":
        factor = "" if price.markup == 1 else f" x {plain(price.markup)}"
        return [f"what the dimension {price.price_field} says{factor}"]
    if price.matrix is not None:
        cells = [f"{plain(t.unit_price)} for {_cell(price, index)}" for index, t in enumerate(price.tiers[:CELLS_SHOWN])]
        return cells if len(price.tiers) <= CELLS_SHOWN else [*cells, f"and {len(price.tiers) - CELLS_SHOWN} more cells"]
    if price.schedule is not None:
        bands = [band_in_words(band) for band in price.schedule.bands]
        lines = [f"{plain(tier.unit_price)} {when}" for tier, when in zip(price.tiers, [*bands, "otherwise"], strict=False)]
        return [*lines, f"by the clocks of {price.schedule.timezone}"]
    return [_tier(price, index) for index in range(len(price.tiers))]


def band_in_words(band: Band) -> str:
    """Days and hours of a band, such as `mon-fri 08:00-20:00`."""
    runs: list[list[int]] = []
    for day in band.days:
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    days = ",".join(DAYS[run[0]] if len(run) == 1 else f"{DAYS[run[0]]}-{DAYS[run[-1]]}" for run in runs)
    return f"{days} {clock_text(band.since)}-{clock_text(band.until)}"


def _percentage(price: Price) -> list[str]:
    """The share and what limits it."""
    tier = price.tiers[-1]
    with localcontext(EXACT):
        percent = tier.unit_price * money(100)
    lines = [f"{plain(percent)} %" + (f" beyond {plain(price.free_quantity)}" if price.free_quantity else "")]
    if price.floor is not None:
        lines.append(f"at least {plain(price.floor)}")
    if price.cap is not None:
        lines.append(f"at most {plain(price.cap)}")
    return [*lines, f"+ {plain(tier.flat_price)} fixed fee"] if tier.flat_price else lines


def _cell(price: Price, index: int) -> str:
    """What a cell of a matrix matches."""
    assert price.matrix is not None
    pairs = zip(price.matrix.dimensions, price.matrix.matches[index], strict=True)
    shown = [f"{name.removeprefix('dimensions.')}={value or 'none'}" for name, value in pairs if value != ANY]
    return ", ".join(shown) or "all other usage"


def _tier(price: Price, index: int) -> str:
    """A tier with its bound."""
    tier = price.tiers[index]
    amount = plain(tier.unit_price) + (f" + {plain(tier.flat_price)} flat" if tier.flat_price else "")
    amount = "free" if tier_name(price, index) == "free" else amount
    return amount + ("" if len(price.tiers) == 1 else " beyond" if tier.upper is None else f" up to {plain(tier.upper)}")
