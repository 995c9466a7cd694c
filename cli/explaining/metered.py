"""A window that a meter has made of samples (max, latest, time-weighted, …), made anew from the samples that the partition keeps."""

from __future__ import annotations

from collections.abc import Sequence

from ...metering.aggregate import window_value
from ...metering.meter import Meter
from ...metering.samples import Sample, SampleList, decode_sample
from ...pricing.money import plain
from ...schemas.times import NS, format_time
from ...streams.core.items import split_entry_key
from ...streams.core.metered import Series
from ...streams.core.segments import Rates
from ...streams.core.store import MemoryStore
from .explanation import DIFFERS, EQUAL, UNKNOWN, Arithmetic, Check, Difference, Value
from .recompute import Rerated
from .worth import feeding

__all__ = ["of_meters"]

SAMPLES_SHOWN = 20
_HOW = {
    "sum": "readings are added up",
    "count": "events are counted",
    "min": "the least reading of the window",
    "max": "the greatest reading of the window",
    "latest": "the last reading of the window, by (time, source, id)",
    "unique": "different values in the window",
    "time_weighted": "quantity × time: a reading holds until the next one, at most for the gap limit",
    "counter": "increases from one reading to the next; a lower value is a restart and counts itself",
}


def of_meters(usage: Rerated, rates: Rates, store: MemoryStore, invoiced: bool) -> tuple[list[Arithmetic], list[Check]]:
    """How the meters that feed a window come to its quantity, and whether it is what the samples give.

    invoiced: the window is as it was when its month was closed; samples may have come since.
    """
    if not usage.key:
        return [], []
    start, region, resource, dimensions = split_entry_key(usage.key)
    entry = next((each for each in usage.entries if each.key == usage.key), None)
    shown, given = [], list[tuple[str, int, str]]()  # meter, samples, quantity
    for meter in feeding(usage.group, rates):
        end = (meter.calendar or rates.default).end(start)
        about = [
            Value("meter", meter.id, f"version {meter.version}, of events {meter.event}"),
            Value("aggregation", meter.aggregation, _HOW[meter.aggregation]),
        ]
        if meter.additive:
            if meter.effective_from < end * NS and start * NS < meter.effective_to:
                shown.append(Arithmetic(f"meter {meter.id}", about))
            continue
        prefix = Series(usage.group.account, meter, usage.group.unit, region, resource, dimensions).prefix
        samples = [decode_sample(key, value) for key, value in store.scan(prefix) if value]
        value = window_value(meter, rates.default, SampleList(samples), start)
        if value is None:
            continue  # another meter's window: their times do not overlap
        given.append((meter.id, len(samples), plain(value)))
        about += [*_samples(meter, samples, start, end), Value("this window", plain(value), usage.group.unit)]
        shown.append(Arithmetic(f"meter {meter.id}", about))
    return shown, _compared(given, None if entry is None else plain(entry.quantity), bool(shown), usage, rates, invoiced)


def _compared(
    given: Sequence[tuple[str, int, str]], rated: str | None, fed: bool, usage: Rerated, rates: Rates, invoiced: bool
) -> list[Check]:
    """Whether the one meter that gives the window a quantity gives what was rated."""
    name = "meter"
    sampling = [meter for meter in feeding(usage.group, rates) if not meter.additive]
    if not sampling or (fed and not given) or len(given) > 1:
        return []  # what adds up is compared with its events
    if not given:
        return [Check(name, UNKNOWN if invoiced else DIFFERS, "no sample gives this window a quantity", [Difference("quantity", rated, None)])]
    ((meter, samples, quantity),) = given
    says = f"{meter}: its {samples:,} samples give {quantity}"
    if quantity == rated:
        return [Check(name, EQUAL, f"{says}, the usage that was rated")]
    if invoiced:
        return [Check(name, UNKNOWN, f"{says}; some may have come after the month was closed", [Difference("quantity", rated, quantity)])]
    return [Check(name, DIFFERS, says, [Difference("quantity", rated, quantity)])]


def _samples(meter: Meter, samples: Sequence[Sample], start: int, end: int) -> list[Value]:
    """Samples of the window, with the one before it where that one counts too."""
    held = SampleList(samples)
    its = held.between(start * NS, end * NS)
    before = held.before(start * NS) if meter.aggregation in ("time_weighted", "counter") else None
    found = [Value(format_time(before.time_ns), _reading(before), "before the window")] if before is not None else []
    found += [Value(format_time(sample.time_ns), _reading(sample), f"{sample.source} {sample.id}") for sample in its[:SAMPLES_SHOWN]]
    if len(its) > SAMPLES_SHOWN:
        found.append(Value("", f"and {len(its) - SAMPLES_SHOWN:,} more"))
    return found


def _reading(sample: Sample) -> str:
    return sample.text or plain(sample.quantity)
