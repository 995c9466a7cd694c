"""A window that a meter has made of samples (max, latest, time-weighted, …), made anew from the samples that the partition keeps."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from ...metering.aggregate import window_value
from ...metering.meter import Meter
from ...metering.samples import Sample, SampleList, decode_sample
from ...pricing.money import ZERO, plain
from ...schemas.explanation import DIFFERS, EQUAL, UNKNOWN, Arithmetic, Check, Difference, Value
from ...schemas.times import NS, format_time
from ...streams.core.items import split_entry_key
from ...streams.core.metered import Series
from ...streams.core.segments import Rates
from ...streams.core.store import MemoryStore
from .recompute import Rerated
from .worth import feeding

__all__ = ["Metered", "of_meters"]

SAMPLES_SHOWN = 10
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


class Metered(NamedTuple):
    """What meters say of a window.

    readings: number and sum of the samples that lie in it, None where meters keep none. before: a sample of an earlier time that
    counts in it, as it still holds or as a counter goes on from it.
    """

    shown: list[Arithmetic]
    checks: list[Check]
    readings: tuple[int, Decimal] | None = None
    before: Sample | None = None


def of_meters(usage: Rerated, rates: Rates, store: MemoryStore, invoiced: bool) -> Metered:
    """How the meters that feed a window come to its quantity, and whether it is what the samples give.

    invoiced: the window is as it was when its month was closed; samples may have come since.
    """
    if not usage.key:
        return Metered([], [])
    start, region, resource, dimensions = split_entry_key(usage.key)
    entry = next((each for each in usage.entries if each.key == usage.key), None)
    shown, given = [], list[tuple[str, int, str]]()  # meter, samples, quantity
    count, total = 0, ZERO
    earlier: Sample | None = None
    meters = feeding(usage.group, rates)
    for meter in meters:
        window = start * NS, (meter.calendar or rates.default).end(start) * NS
        about = [
            Value("meter", meter.id, f"version {meter.version}, of events {meter.event}"),
            Value("aggregation", meter.aggregation, _HOW[meter.aggregation]),
        ]
        if meter.additive:
            if meter.effective_from < window[1] and window[0] < meter.effective_to:
                shown.append(Arithmetic(f"meter {meter.id}", about))
            continue
        prefix = Series(usage.group.account, meter, usage.group.unit, region, resource, dimensions).prefix
        samples = SampleList(decode_sample(key, value) for key, value in store.scan(prefix) if value)
        its = samples.between(*window)
        count, total = count + len(its), total + sum((sample.quantity for sample in its), ZERO)
        value = window_value(meter, rates.default, samples, start)
        if value is None:
            continue  # another meter's window: their times do not overlap
        given.append((meter.id, len(its), plain(value)))
        earlier = _before(meter, samples, *window) or earlier
        about += [*_samples(meter, samples, *window), Value("this window", plain(value), usage.group.unit)]
        shown.append(Arithmetic(f"meter {meter.id}", about))
    checks = _compared(given, None if entry is None else plain(entry.quantity), bool(shown), usage, rates, invoiced)
    return Metered(shown, checks, (count, total) if meters and not any(meter.additive for meter in meters) else None, earlier)


def _compared(
    given: Sequence[tuple[str, int, str]], rated: str | None, fed: bool, usage: Rerated, rates: Rates, invoiced: bool
) -> list[Check]:
    """Whether the one meter that gives the window a quantity gives what was rated."""
    name = "meter"
    sampling = [meter for meter in feeding(usage.group, rates) if not meter.additive]
    if not sampling or (fed and not given) or len(given) > 1:
        return []  # what adds up is compared with its events
    if not given and rated is None:
        return [Check(name, EQUAL, "no sample gives this window a quantity, and there is no usage in it")]
    if not given:
        return [Check(name, UNKNOWN if invoiced else DIFFERS, "no sample gives this window a quantity", [Difference("quantity", rated, None)])]
    ((meter, samples, quantity),) = given
    says = f"{meter}: {samples:,} sample{' gives' if samples == 1 else 's give'} {quantity}"
    if quantity == rated:
        return [Check(name, EQUAL, f"{says}, the usage that was rated")]
    if invoiced:
        return [Check(name, UNKNOWN, f"{says}; some may have come after the month was closed", [Difference("quantity", rated, quantity)])]
    return [Check(name, DIFFERS, says, [Difference("quantity", rated, quantity)])]


def _samples(meter: Meter, held: SampleList, low: int, high: int) -> list[Value]:
    """Samples of the window, with those around it that count too, and what each contributes."""
    its = held.between(low, high)
    if meter.aggregation in ("time_weighted", "counter"):
        before = held.before(low)
        its = its if before is None else [before, *its]
    values = []
    for at, sample in enumerate(its[:SAMPLES_SHOWN]):
        after = its[at + 1].time_ns if at + 1 < len(its) else None
        note = _contribution(meter, sample, its[at - 1] if at else None, after if after is not None else _next(held, sample), low, high)
        values.append(Value(format_time(sample.time_ns), _reading(meter, sample), note))
    if len(its) > SAMPLES_SHOWN:
        values.append(Value("", f"and {len(its) - SAMPLES_SHOWN:,} more"))
    return values


def _before(meter: Meter, held: SampleList, low: int, high: int) -> Sample | None:
    """The last sample of an earlier time, where it counts in the window too."""
    last = held.before(low) if meter.aggregation in ("time_weighted", "counter") else None
    if last is None or meter.aggregation == "counter":
        return last if held.between(low, high) else None
    return last if _held(meter, last, _next(held, last), low, high) else None


def _next(held: SampleList, sample: Sample) -> int | None:
    following = held.after(sample.time_ns + 1)
    return None if following is None else following.time_ns


def _contribution(meter: Meter, sample: Sample, previous: Sample | None, after: int | None, low: int, high: int) -> str:
    """What a sample brings to the window, as its aggregation has it."""
    whose = f"{sample.source} {sample.id}{', before the window' if sample.time_ns < low else ''}"
    if meter.aggregation == "time_weighted":
        return f"× {_seconds(_held(meter, sample, after, low, high))} s   {whose}"
    if meter.aggregation == "counter" and sample.time_ns >= low and previous is not None:
        fell = sample.quantity < previous.quantity
        increase = sample.quantity if fell else sample.quantity - previous.quantity
        return f"+{plain(increase)}{' (restarted)' if fell else ''}   {whose}"
    return whose


def _held(meter: Meter, sample: Sample, after: int | None, low: int, high: int) -> int:
    """How long a sample holds within the window, in nanoseconds. after: time of the next one."""
    until = min(sample.time_ns + meter.gap_limit, meter.effective_to)
    if after is not None:
        until = min(until, after)
    elif not meter.carry_forward:
        until = sample.time_ns
    return max(0, min(until, high) - max(sample.time_ns, low))


def _seconds(span_ns: int) -> str:
    whole, rest = divmod(span_ns, NS)
    return f"{whole:,}" + (f".{rest:09d}".rstrip("0") if rest else "")


def _reading(meter: Meter, sample: Sample) -> str:
    return sample.text or f"{plain(sample.quantity)} {meter.source_unit}".rstrip()
