"""The sink against a server that fails in every way a bulk request can."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from ratemill.schemas.errors import RatemillError
from ratemill.schemas.line_item import RatedLineItem, encode_line_item
from ratemill.sinks.elasticsearch import ElasticsearchSink, equal_jitter
from ratemill.sinks.metrics import CountingMetrics

Make = Callable[..., RatedLineItem]


class Harness:
    """A sink whose pauses take no time and are noted down."""

    def __init__(self, url: str, **options: Any) -> None:
        self.pauses: list[float] = []
        self.metrics = CountingMetrics()
        self.sink = ElasticsearchSink(url, metrics=self.metrics, sleep=self._sleep, jitter=lambda delay: delay, **options)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def __aenter__(self) -> Harness:
        await self.sink.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sink.close()


async def test_start_waits_until_elasticsearch_is_there(fake: Any) -> None:
    fake.setup_faults.extend([503, 502, 429])
    async with Harness(fake.url) as harness:
        assert fake.template["index_patterns"] == ["ratemill-line-items-*"]
        assert harness.pauses == [0.1, 0.2, 0.4]


async def test_start_waits_while_nobody_listens_and_can_be_cancelled() -> None:
    harness = Harness("http://127.0.0.1:1")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(harness.sink.start(), 0.3)
    await harness.sink.close()
    assert harness.metrics.retries["connection"] > 3


async def test_a_newer_template_is_left_alone(fake: Any) -> None:
    fake.template = {"version": 999}
    async with Harness(fake.url):
        assert fake.template == {"version": 999}


async def test_a_template_that_is_refused_is_an_error_not_a_loop(fake: Any) -> None:
    fake.setup_faults.append(400)
    with pytest.raises(RatemillError, match="refuses the index template"):
        await Harness(fake.url).__aenter__()


@pytest.mark.parametrize("fault", [429, 500, 502, 503, 504, 401, 403, 404, 408, "drop", "drop_after", "garbage", "shuffled", "short", "partial"])
async def test_whatever_can_pass_is_retried_and_nothing_is_lost_or_doubled(fake: Any, line_item: Make, fault: int | str) -> None:
    fake.faults.extend([fault, fault])
    async with Harness(fake.url) as harness:
        assert await harness.sink.write([line_item(n) for n in range(10)]) == []
    assert {version for version, _ in fake.documents.values()} == {1}
    assert len(fake.documents) == 10
    counts = harness.metrics.counts
    assert counts["indexed"] + counts["already_there"] == 10
    assert sum(harness.metrics.retries.values()) >= (1 if fault in ("drop", "drop_after") else 2)  # the HTTP client may resend once itself


async def test_only_the_failed_items_are_sent_again(fake: Any, line_item: Make) -> None:
    fake.faults.append("partial")
    async with Harness(fake.url) as harness:
        await harness.sink.write([line_item(n) for n in range(10)])
    assert fake.bulk_sizes == [10, 5]
    assert harness.metrics.counts["indexed"] == 10


async def test_pauses_grow_to_a_cap_and_start_anew_after_progress(fake: Any, line_item: Make) -> None:
    fake.faults.extend([503] * 10 + ["partial", 503])
    async with Harness(fake.url) as harness:
        await harness.sink.write([line_item(n) for n in range(4)])
    assert harness.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0, 0.1, 0.2]
    assert all(0.5 <= equal_jitter(1.0) <= 1.0 for _ in range(100))


async def test_one_bad_document_is_refused_and_the_others_are_indexed(fake: Any, line_item: Make) -> None:
    error = {"type": "document_parsing_exception", "reason": "[1:5] failed", "caused_by": {"type": "date_time_parse", "reason": "no\nday 40"}}
    fake.judge = lambda identity, _: {"status": 400, "error": error} if identity == "li-3" else None
    items = [encode_line_item(line_item(n)) for n in range(6)]
    async with Harness(fake.url) as harness:
        _junk, refused = await harness.sink.write([*items, b"junk"])
    assert (refused.item, refused.line_item_id, refused.status) == (items[3], "li-3", 400)
    assert refused.reason == "document_parsing_exception: [1:5] failed: date_time_parse: no day 40"
    assert set(fake.documents) == {"li-0", "li-1", "li-2", "li-4", "li-5"}
    assert harness.metrics.counts["refused"] == 2
    assert harness.pauses == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, "cluster_block_exception"), (429, "cluster_block_exception"), (400, "index_closed_exception"), (403, "security_exception"), (503, "x")],
)
async def test_trouble_of_the_index_is_not_the_fault_of_the_item(fake: Any, line_item: Make, status: int, kind: str) -> None:
    left = [3]

    def blocked(_identity: str, _document: dict[str, Any]) -> dict[str, Any] | None:
        left[0] -= 1
        return {"status": status, "error": {"type": kind, "reason": "blocked"}} if left[0] >= 0 else None

    fake.judge = blocked
    async with Harness(fake.url) as harness:
        assert await harness.sink.write([line_item(1)]) == []
    assert len(harness.pauses) == 3
    assert harness.metrics.retries == {f"item_{status}": 3}
    assert "li-1" in fake.documents


async def test_a_request_that_is_too_large_is_halved_down_to_the_item_that_is(fake: Any, line_item: Make) -> None:
    fake.max_bytes = 5_000
    items = [line_item(n) for n in range(20)] + [line_item(99, charge_description="x" * 6_000)]
    async with Harness(fake.url) as harness:
        (refused,) = await harness.sink.write(items)
    assert (refused.line_item_id, refused.status) == ("li-99", 413)
    assert len(fake.documents) == 20
    assert harness.pauses == []


async def test_a_400_for_the_whole_request_costs_only_the_item_that_causes_it(fake: Any, line_item: Make) -> None:
    fake.faults.extend([400, None, 400, 400, None])  # all four; 0 and 1; 2 and 3; 2; 3
    async with Harness(fake.url) as harness:
        refused = await harness.sink.write([line_item(n) for n in range(4)])
    assert [(one.line_item_id, one.status, one.reason) for one in refused] == [("li-2", 400, "HTTP 400 some_exception: a fault of the test")]
    assert set(fake.documents) == {"li-0", "li-1", "li-3"}


async def test_a_400_of_something_in_between_refuses_nothing(fake: Any, line_item: Make) -> None:
    fake.faults.extend(["proxy_400"] * 3)
    async with Harness(fake.url) as harness:
        assert await harness.sink.write([line_item(1)]) == []
    assert harness.metrics.retries == {"http_400": 3}


async def test_a_deleted_index_is_made_again_with_its_mapping(fake: Any, line_item: Make) -> None:
    async with Harness(fake.url) as harness:
        await harness.sink.write([line_item(1)])
        fake.indices.clear()
        fake.documents.clear()
        assert await harness.sink.write([line_item(2), line_item(3, billing_period_start="2026-10-01T00:00:00Z")]) == []
    assert fake.indices == {"ratemill-line-items", "ratemill-write-2026.09", "ratemill-write-2026.10"}
    assert set(fake.documents) == {"li-2", "li-3"}


async def test_cancelling_a_write_ends_it_and_the_same_write_can_follow(fake: Any, line_item: Make) -> None:
    fake.faults.extend([503] * 10_000)
    items = [line_item(n) for n in range(10)]
    async with Harness(fake.url) as harness:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(harness.sink.write(items), 0.2)
        fake.faults.clear()
        assert await harness.sink.write(items) == []
    assert len(fake.documents) == 10


@pytest.mark.parametrize("seed", range(20))
async def test_any_order_of_revisions_and_any_faults_end_with_the_highest_revisions(fake: Any, line_item: Make, seed: int) -> None:
    rng = random.Random(seed)
    revisions = [(number, revision) for number in range(15) for revision in range(1, 8)]
    rng.shuffle(revisions)
    faults: list[int | str] = [429, 503, "drop", "drop_after", "partial", "partial", "garbage", "shuffled", "short"]
    async with Harness(fake.url, max_bulk_items=5, max_in_flight=3) as harness:
        while revisions:
            fake.faults.extend(rng.choices(faults, k=rng.randrange(4)))
            size = rng.randrange(1, 30)
            batch, revisions = revisions[:size], revisions[size:]
            if rng.random() < 0.3:
                revisions += rng.sample(batch, 1)  # a replay, later
            assert await harness.sink.write([line_item(number, revision, str(revision)) for number, revision in batch]) == []
    assert {identity: (version, document["BilledCost"]) for identity, (version, document) in fake.documents.items()} == {
        f"li-{number}": (7, "7") for number in range(15)
    }
