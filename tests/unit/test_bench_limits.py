"""What soak, overload, outage and restore judge by: series that must pass, and those that must not."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import time
from pathlib import Path

import orjson
import psutil
import pytest
from ratemill.bench.flatness import FEWEST, Tolerance, judge, theil_sen
from ratemill.bench.limits import compare_documents
from ratemill.bench.many import Many
from ratemill.bench.memory import overloaded, without_elasticsearch
from ratemill.bench.oracle import Item, Truth, compare, latest
from ratemill.bench.overload import RATES, sustainable
from ratemill.bench.probe import folder_mb
from ratemill.bench.shape import PRICES
from ratemill.bench.share import share_of
from ratemill.streams.config import Config
from ratemill.streams.core.store import Effects
from ratemill.streams.rocks import RocksStore

TIMES = [10.0 * n for n in range(180)]
TIGHT = Tolerance(0.05, 2)
NOISE = random.Random(5)


def _flat(values: list[float], tolerance: Tolerance = TIGHT, warm_up: float = 420) -> bool:
    return judge("x", TIMES, values, warm_up, tolerance).flat


def test_what_grows_steadily_is_caught() -> None:
    assert not _flat([200 + t / 60 for t in TIMES])  # 1 MB a minute, 23 MB in all
    assert not _flat([200 + t / 60 + NOISE.uniform(-20, 20) for t in TIMES])


def test_what_swings_is_flat() -> None:
    assert _flat([200 + NOISE.uniform(-20, 20) for _ in TIMES])
    assert _flat([50 + t % 90 for t in TIMES])  # fills for 90 s, then compaction
    assert _flat([50 + t % 400 / 4 for t in TIMES])


@pytest.mark.parametrize("phase", range(0, 400, 40))
def test_a_sawtooth_that_grows_is_caught_whatever_its_phase(phase: int) -> None:
    assert not _flat([50 + (t + phase) % 90 / 3 + t / 30 for t in TIMES])


def test_steps_are_caught_when_they_go_on() -> None:
    assert not _flat([30 + t // 300 for t in TIMES])  # one descriptor more every five minutes
    assert _flat([30 + (t > 600) for t in TIMES])  # one more, once


def test_a_leak_after_the_middle_is_caught() -> None:
    assert not _flat([200 + max(0, t - 1_000) / 30 for t in TIMES])


def test_what_falls_and_what_grew_in_the_warm_up_are_flat() -> None:
    assert _flat([400 - t / 10 for t in TIMES])
    assert _flat([min(t, 400) for t in TIMES])
    assert not _flat([min(t, 1_500) for t in TIMES])


def test_growth_within_the_tolerance_is_flat() -> None:
    grown = [200 + t / 200 for t in TIMES]  # 7 in all behind the warm-up, and 5% are 10
    assert _flat(grown)
    assert not _flat(grown, Tolerance(0.01, 2))


def test_one_wild_sample_decides_nothing() -> None:
    assert _flat([5_000.0 if n in (60, 170) else 200.0 for n in range(180)])


def test_too_few_samples_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="are needed"):
        judge("x", TIMES[: FEWEST - 1], [1.0] * (FEWEST - 1), 0, TIGHT)
    assert judge("x", TIMES[:FEWEST], [1.0] * FEWEST, 0, TIGHT).flat


def test_the_slope_is_the_median_of_all_pairs() -> None:
    times, values = [0.0, 1.0, 2.0, 10.0], [1.0, 4.0, 2.0, 30.0]
    slopes = sorted((values[j] - values[i]) / (times[j] - times[i]) for i, j in itertools.combinations(range(4), 2))
    assert theil_sen(times, values) == pytest.approx((slopes[2] + slopes[3]) / 2)
    assert theil_sen([1.0, 1.0, 3.0], [0.0, 9.0, 4.0]) == pytest.approx(-0.25)  # pairs of one time have no slope


@pytest.mark.parametrize("count", [1, 49, 50, 12_345, 60_000])
def test_what_many_events_come_to_is_what_reading_them_says(count: int) -> None:
    many = Many()
    many.next = count
    truth = Truth()
    events = [many.event(number).encode() for number in range(count)]
    truth.add([b"[" + b",".join(events[at : at + 50]) + b"]" for at in range(0, count, 50)])
    truth.add(events[:7])
    assert truth.expected() == many.expected(count + min(7, count), min(7, count))
    assert len({orjson.loads(event)["id"] for event in events}) == count


def test_a_producer_that_starts_an_hour_later_sends_events_of_the_same_windows() -> None:
    begun = Many(hour=36_000)
    later = Many(hour=begun.hour)  # as told to its process; by itself it would take the hour of the clock
    later.next = 1_000
    assert [later.event(number) for number in range(1_000)] == [begun.event(number) for number in range(1_000)]
    assert orjson.loads(later.event(0))["time"] == "1970-01-01T09:30:00Z"
    assert Many().event(0) != later.event(0)


def test_one_event_more_or_less_is_noticed() -> None:
    many = Many()
    many.next = 1_000
    items = []
    for at, (group, (quantity, _)) in enumerate(many.expected(0, 0).groups.items()):
        account, sku, month = group.split(" ")
        items.append(Item(f"i{at}", 1, account, sku, f"{month}-01T00:00:00Z", str(quantity), "1", str(quantity)))
    prices = {sku.name: ((None, "1"),) for sku in PRICES}
    assert compare(many.expected(1_000, 0), prices, items) == []
    for many.next in (999, 1_001):
        assert compare(many.expected(many.next, 0), prices, items)


def test_a_document_that_is_not_the_newest_line_item_is_noticed() -> None:
    new, old = (Item("a", revision, "acct", "sku", "2026-11-01T00:00:00Z", str(revision)) for revision in (2, 1))
    assert compare_documents({"a": new}, {"a": new}) == []
    assert compare_documents({"a": new}, {"a": old})
    assert compare_documents({"a": new}, {})
    assert compare_documents({}, {"a": new})


def test_the_newest_revisions_can_be_taken_batch_by_batch() -> None:
    def record(revision: int) -> bytes:
        names = {"x_LineItemId": "a", "BillingAccountId": "acct", "SkuId": "sku", "ChargePeriodStart": "2026-11-01T00:00:00Z", "BilledCost": "1"}
        return orjson.dumps({**names, "x_Revision": revision})

    parts = latest([record(3)], latest([record(1), record(2)]))
    assert (parts.written, parts.items["a"].revision) == (3, 3)
    assert latest([record(1)], parts).items["a"].revision == 3


@pytest.mark.parametrize("forgets", [True, False])
def test_a_store_that_drops_buckets_is_flat_and_one_that_does_not_is_caught(tmp_path: Path, forgets: bool) -> None:
    """The soak's verdict on RocksDB, on a real store: six commits a bucket, four buckets remembered."""
    store = RocksStore(tmp_path / "s", write_buffer_bytes=1 << 18, recent_ids=4_000)
    sizes = []
    for commit in range(90):
        ids = {NOISE.randbytes(16): NOISE.randbytes(8) for _ in range(1_000)}
        store.write(Effects([], [(b"e%d" % (commit % 7), b"1")], ids, commit // 6, []), {"dedupe": commit})
        if forgets:
            store.forget(commit // 6 - 3)
        sizes.append(folder_mb(tmp_path / "s"))
    store.close()
    verdict = judge("RocksDB", list(range(90)), sizes, 30, Tolerance(0.1, 0.3))
    assert verdict.flat == forgets, str(verdict)


# -- a share of a processor, and the memory that is allowed ------------------------------------------------------------------


def test_a_process_uses_no_more_than_its_share_and_runs_on_afterwards() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        process, seen = psutil.Process(busy.pid), set[str]()
        with share_of(busy.pid, 0.1):
            before, begin = sum(process.cpu_times()[:2]), time.monotonic()
            while process.cpu_times().user < before + 0.1 or psutil.STATUS_STOPPED not in seen:
                seen.add(process.status())
            used, passed = sum(process.cpu_times()[:2]) - before, time.monotonic() - begin
        assert used <= 0.1 * passed + 0.06  # a slice, and two ticks of the clock that says what was used
        assert process.status() != psutil.STATUS_STOPPED
    finally:
        busy.kill()
        busy.wait()


def test_a_process_that_ends_meanwhile_disturbs_nobody() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    with share_of(busy.pid, 0.1):
        busy.kill()
        busy.wait()


def test_the_memory_that_is_allowed_follows_the_limits_and_is_less_than_what_once_was_too_much() -> None:
    config = Config()
    calm, allowed = 150, sum(overloaded(config, 3).values())
    assert calm + allowed < 1_654  # a worker under overload that kept 32 MiB a lane and decoded events until its commits
    fewer = config.model_copy(update={"rating": config.rating.model_copy(update={"commit_events": 15_000})})
    assert allowed - sum(overloaded(fewer, 3).values()) == pytest.approx(135_000 * config.kafka.partitions * 310 / 1e6)
    assert sum(without_elasticsearch(config, 3, 840_000).values()) < 178  # 20,000 line items for each of four lanes


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        ({3_000: [4.0, 3.0, 5.5], 4_000: [12.0]}, 3_000),
        ({3_000: [4.0, 3.0, 5.6], 2_000: [2.0, 2.0, 2.0], 4_000: [12.0]}, 2_000),  # once well, and once not
        ({3_000: [4.0, 9.0], 2_000: [2.0, 7.0], 1_500: [1.0, 1.0, 1.0], 4_000: [12.0]}, 1_500),
        ({rate: [9.0] for rate in RATES[1:]}, RATES[0]),
    ],
)
async def test_a_rate_is_sustained_when_it_is_drained_in_time_every_time(seconds: dict[int, list[float]], found: int) -> None:
    left = {rate: list(each) for rate, each in seconds.items()}

    async def step(rate: int) -> float:
        return left[rate].pop(0) if left.get(rate) else 0.5

    rate, tried = await sustainable(step)
    assert rate == found
    assert all(len(tried[each]) == len(took) for each, took in seconds.items() if each in tried)
