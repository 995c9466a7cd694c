"""How long a month's cost view of one account takes over HTTP, among millions of line items.

    python -m ratemill.bench.cost_view --line-items 5000000

Loads a month of line items by the sink's own code, a fifth of them of one account. Then asks `GET /v1/costs` for accounts of the usual
size, one after another, and for the large one: while nothing changes, and while line items of others keep coming. Every answer is
compared with what was written.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from ..sinks.costs import count_line_items
from ..sinks.elasticsearch import ElasticsearchSink
from .api_process import Api
from .latency import percentile
from .limits import Check, Outcome, command, own_stack, parser, say
from .month_items import LARGE, MONTH, Bill, MonthItems
from .report import table

__all__ = ["main"]

PREFIX = "bench-view"
WRITTEN_EACH_S = 200  # line items of others, while somebody reads
TARGET_MS = 200
_LOADING = {"index.refresh_interval": "60s", "index.translog.durability": "async"}


class _Options:
    """What the command line said."""

    def __init__(self) -> None:
        options = parser("cost_view", __doc__)
        options.add_argument("--line-items", type=int, default=5_000_000, metavar="N", help="line items of the month (default: 5,000,000)")
        options.add_argument("--requests", type=int, default=300, metavar="N", help="requests of each kind (default: 300)")
        options.add_argument("--by", default="sku", help="what is grouped by (default: sku)")
        options.add_argument("--elasticsearch", metavar="URL", help="one that is loaded already, by a run with the same number of line items")
        given = options.parse_args()
        self.folder: Path | None = given.dir
        self.line_items, self.requests, self.by, self.url = given.line_items, given.requests, given.by, given.elasticsearch


class _Took(NamedTuple):
    """Requests of one kind, and the answers that were wrong."""

    what: str
    ms: list[float]
    wrong: list[str]


async def _load(sink: ElasticsearchSink, items: MonthItems) -> float:
    begin = time.monotonic()
    written, told = 0, begin
    for chunk in items.chunks():
        await sink.write(chunk)
        if not written:  # the index is there: it need not be searched yet, nor outlive a crash
            await sink.client.indices.put_settings(index=sink.names.alias, settings=_LOADING)
        written += len(chunk)
        if time.monotonic() - told > 20:
            told = time.monotonic()
            say(f"{written:,} line items written, {written / (told - begin):,.0f} a second")
    await sink.client.indices.put_settings(index=sink.names.alias, settings=dict.fromkeys(_LOADING) | {"index.refresh_interval": "1s"})
    await sink.client.indices.refresh(index=sink.names.alias)
    return time.monotonic() - begin


async def _ask(client: httpx.AsyncClient, what: str, accounts: Sequence[str], by: str, bills: dict[str, Bill]) -> _Took:
    """Ask for one account after another. All but the large one may have got more meanwhile."""
    took, wrong = [], []
    for account in accounts:
        begin = time.perf_counter()
        answer = await client.get("/v1/costs", params={"account": account, "period": MONTH, "by": by})
        took.append(1_000 * (time.perf_counter() - begin))
        total: dict[str, Any] = answer.json()["totals"][0] if answer.status_code == 200 else {"line_items": 0, "billed_cost": "0"}
        more = Fraction(total["billed_cost"]) * 10**12 - bills[account].cost, total["line_items"] - bills[account].line_items
        if any(more) if account == LARGE else min(more) < 0:
            wrong.append(f"{what}: {account}: status {answer.status_code}, {total}, expected {bills[account]}")
    return _Took(what, took, wrong)


async def _write_on(sink: ElasticsearchSink, items: MonthItems) -> None:
    hour = 0
    while True:
        await sink.write(items.late(hour, WRITTEN_EACH_S))
        hour += 1
        await asyncio.sleep(1)


async def _measured(api: Api, sink: ElasticsearchSink, items: MonthItems, how: _Options) -> list[_Took]:
    key = api.key("costs:read")
    api.start()
    bills = dict(items.bills)
    usual = [items.accounts[n % len(items.accounts)] for n in range(how.requests)]
    found = []
    async with httpx.AsyncClient(base_url=api.url, headers={"authorization": f"Bearer {key}"}, timeout=60, trust_env=False) as client:
        await _ask(client, "first requests", [items.accounts[-1], LARGE] * 5, how.by, bills)
        for state in ("nothing changes", "others write"):
            writing = asyncio.create_task(_write_on(sink, items)) if state == "others write" else None
            say(f"asking, {state}")
            found.append(await _ask(client, f"usual account, {state}", usual, how.by, bills))
            found.append(await _ask(client, f"large account, {state}", [LARGE] * how.requests, how.by, bills))
            if writing is not None:
                writing.cancel()
                with suppress(asyncio.CancelledError):
                    await writing
    return found


@contextmanager
def _elasticsearch(folder: Path, url: str | None) -> Iterator[str]:
    if url:
        yield url
        return
    with own_stack(folder) as stack:
        yield stack.elasticsearch


async def _cost_view(folder: Path, how: _Options) -> Outcome:
    items = MonthItems(how.line_items)
    (folder / "run").mkdir(parents=True, exist_ok=True)
    with _elasticsearch(folder, how.url) as url:
        config = f'[kafka]\nbootstrap = "127.0.0.1:1"\n[elasticsearch]\nurl = "{url}"\nindex_prefix = "{PREFIX}"\n'  # reading needs no Kafka
        (folder / "run" / "ratemill.toml").write_text(config)
        api = Api(folder / "run")
        async with ElasticsearchSink(url, prefix=PREFIX) as sink:
            try:
                if how.url:
                    for _ in items.chunks():
                        pass  # only counted
                    loaded_s = 0.0
                else:
                    loaded_s = await _load(sink, items)
                documents = await count_line_items(sink.client, PREFIX)
                expected = sum(bill.line_items for bill in items.bills.values())
                say(f"{documents:,} documents, loaded in {loaded_s:,.0f} s")
                found = await _measured(api, sink, items, how)
                size: Any = await sink.client.indices.stats(index=sink.names.alias, metric="store,segments")
            finally:
                api.kill()
    mb, segments = size["_all"]["total"]["store"]["size_in_bytes"] // 10**6, size["_all"]["total"]["segments"]["count"]
    loaded = Check("all line items are in the index", documents >= expected, f"{documents:,} documents, {mb:,} MB, {segments} segments")
    return _judged(how, items, found, loaded, loaded_s)


def _judged(how: _Options, items: MonthItems, found: Sequence[_Took], loaded: Check, loaded_s: float) -> Outcome:
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    ms = {took.what: {word: round(percentile(took.ms, share), 1) for word, share in shares.items()} for took in found}
    columns = ("GET /v1/costs of a month", "requests", *(f"{word} ms" for word in shares))
    table(f"by {how.by}", columns, [(took.what, f"{len(took.ms):,}", *(f"{each:,}" for each in ms[took.what].values())) for took in found])
    wrong = [line for took in found for line in took.wrong]
    sizes = f"{items.bills[LARGE].line_items:,} line items of the large account, {items.bills[items.accounts[0]].line_items:,} of the first other"
    checks = [
        loaded,
        Check("every answer is what was written", not wrong, "; ".join(wrong[:3]) or sizes),
        *(Check(f"{what}: p99 under {TARGET_MS} ms", of["p99"] < TARGET_MS, f"{of['p99']:,} ms") for what, of in ms.items()),
    ]
    return Outcome(checks, {"line_items": how.line_items, "by": how.by, "loaded_s": round(loaded_s), "index": loaded.found, "took_ms": ms})


def main() -> int:
    """Returns the exit status."""
    how = _Options()
    return command("cost_view", how.folder, lambda folder: _cost_view(folder, how))


if __name__ == "__main__":
    sys.exit(main())
