"""The comparison that every test and every negative control goes through."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import aiohttp
from aiokafka.admin import AIOKafkaAdminClient

from .oracle import Expected, Raw, Row, differences, expected, rows_of_line_items
from .traffic import DIRECT, HOPPED
from .workers import Bed, Record

__all__ = [
    "Outcome", "beside_rows", "latest", "mismatches", "offset_mismatches", "outcome", "read_documents", "revisions", "unchanged", "verify",
]  # fmt: skip

Progress = dict[str, dict[str, Any]]


class Outcome(NamedTuple):
    """What must stand, and what stands."""

    wanted: Expected
    raw: Sequence[Raw]
    rated: Sequence[Record]
    rows: Counter[Row]  # of usage.rated
    documents: Counter[Row] | None  # of Elasticsearch, if it was asked


async def outcome(bed: Bed, *, elasticsearch: bool = True) -> Outcome:
    """Read everything back; the oracle works from the raw topics alone."""
    raw = [Raw(r.topic, r.partition, r.offset, r.value, r.timestamp) for r in await bed.read(DIRECT, HOPPED)]
    rated = await bed.read("usage.rated")
    documents = rows_of_line_items(await read_documents(bed)) if elasticsearch else None
    return Outcome(expected(raw, bed.prices), raw, rated, rows_of_line_items(latest(rated).values()), documents)


async def mismatches(bed: Bed, *, elasticsearch: bool = True) -> list[str]:
    """Everything in which usage.rated, Elasticsearch, dead letters, counters and offsets differ from the oracle; [] when all agree."""
    found = await outcome(bed, elasticsearch=elasticsearch)
    lines = differences("usage.rated", found.wanted.rows, found.rows)
    if found.documents is not None:
        lines += differences("Elasticsearch", found.wanted.rows, found.documents)
    lines += await beside_rows(bed, found)
    if lines:
        what = f"{len(found.raw)} raw records, {found.wanted.unique} unique events, {found.wanted.duplicates} duplicates"
        lines.append(f"seed {bed.seed}; {what}; logs in {bed.folder}")
    return lines


async def beside_rows(bed: Bed, found: Outcome) -> list[str]:
    """Mistakes in all that is not the rows themselves: revisions, dead letters, counters, committed offsets."""
    lines = revisions(found.rated)
    lines += differences("usage.dead-letter", found.wanted.dead, _dead(await bed.read("usage.dead-letter")))
    lines += _conservation(bed, found.wanted, await bed.progress(), Counter(r.partition for r in found.rated), found.documents is not None)
    return lines + await offset_mismatches(bed)


async def verify(bed: Bed, **options: Any) -> None:
    """Assert that all agree."""
    found = await mismatches(bed, **options)
    assert not found, "\n".join(found)


def latest(rated: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """The highest revision of each line item, withdrawn ones too."""
    found: dict[str, dict[str, Any]] = {}
    for record in rated:
        item = json.loads(record.value or b"{}")
        known = found.get(item["x_LineItemId"])
        if known is None or item["x_Revision"] >= known["x_Revision"]:
            found[item["x_LineItemId"]] = item
    return found


def revisions(rated: Sequence[Record]) -> list[str]:
    """Revisions of a line item must grow in log order, or readers of the highest and of the last disagree."""
    last: dict[bytes | None, int] = {}
    wrong = []
    for record in rated:
        revision = json.loads(record.value or b"{}")["x_Revision"]
        if revision <= last.get(record.key, 0):
            wrong.append(f"{record.key!r}: {revision} at offset {record.offset} of partition {record.partition}, after {last[record.key]}")
        last[record.key] = revision
    return [f"usage.rated: revision did not grow for {len(wrong)} records: {'; '.join(wrong[:3])}"] if wrong else []


def unchanged(rated: Sequence[Record]) -> list[str]:
    """Line items that were written again although they say the same as before, but for how they came about: how many, and the first."""
    last: dict[bytes | None, dict[str, Any]] = {}
    same = []
    for record in rated:
        item = json.loads(record.value or b"{}")
        said = {name: value for name, value in item.items() if name not in ("x_Revision", "x_Cause")}
        if last.get(record.key) == said:
            same.append(f"{record.key!r} revision {item['x_Revision']}")
        last[record.key] = said
    return [f"usage.rated: {len(same)} of {len(rated)} records say what the one before said: {'; '.join(same[:3])}"] if same else []


def _dead(records: Sequence[Record]) -> Counter[tuple[str, int, int, bool]]:
    dead: Counter[tuple[str, int, int, bool]] = Counter()
    for record in records:
        h = dict(record.headers)
        place = h["ratemill-origin-topic"].decode(), int(h["ratemill-origin-partition"]), int(h["ratemill-origin-offset"])
        dead[*place, h["ratemill-reason"] == b"conflict"] += 1
    return dead


def _conservation(bed: Bed, wanted: Expected, progress: Progress, rated: Counter[int], indexed: bool) -> list[str]:
    found = []
    totals: Counter[str] = Counter()
    for lane, state in progress.items():
        for topic, c in state.get("sources", {}).items():
            received, counted, duplicates, dead = (c.get(k, 0) for k in ("received", "counted", "duplicates", "dead_lettered"))
            if received != counted + duplicates + dead:
                found.append(f"{lane} {topic}: received {received} != {counted} + {duplicates} + {dead}")
            agent = lane.split("-")[0]
            totals.update({f"{agent} received": received, f"{agent} counted": counted, f"{agent} duplicates": duplicates, f"{agent} dead": dead})
            place = topic, int(lane.rsplit("-", 1)[1])
            if topic in (bed.topic(DIRECT), bed.topic(HOPPED)) and received != wanted.received[place]:
                found.append(f"{lane}: received {received} of the {wanted.received[place]} events in {topic}")
            if agent == "normalize" and dead != wanted.poison[place]:
                found.append(f"{lane}: {dead} dead letters, expected {wanted.poison[place]}")
            if agent == "index" and indexed and received != rated[place[1]]:
                found.append(f"{lane}: received {received} of {rated[place[1]]} line items")
    hopped_poison = sum(n for (topic, _), n in wanted.poison.items() if topic == bed.topic(HOPPED))
    checks = {
        "rate received": sum(wanted.received.values()) - hopped_poison,
        "rate counted": wanted.unique,
        "rate duplicates": wanted.duplicates,
        "rate dead": sum(wanted.poison.values()) - hopped_poison + wanted.conflicts,
        "index dead": 0,
    }
    return found + [f"{name}: {totals[name]}, expected {count}" for name, count in checks.items() if totals[name] != count]


async def offset_mismatches(bed: Bed) -> list[str]:
    """Where the group's committed offsets are not those that the restored state would name; no commit may be under way."""
    progress = await bed.progress()
    admin = AIOKafkaAdminClient(bootstrap_servers=bed.stack.kafka)
    await admin.start()
    try:
        listed = await admin.list_consumer_group_offsets(bed.config.kafka.group_id)
        committed = {(tp.topic, tp.partition): meta.offset for tp, meta in listed.items()}
    finally:
        await admin.close()
    wrong = []
    for lane, state in progress.items():
        for topic, offset in state.get("next_offsets", {}).items():
            place = topic, int(lane.rsplit("-", 1)[1])
            if committed.get(place) != offset:
                wrong.append(f"{lane}: the group is at {committed.get(place)} of {topic}, the progress at {offset}")
    return wrong


async def read_documents(bed: Bed) -> list[dict[str, Any]]:
    """Every document of this test's indexes, after a refresh."""
    base = f"{bed.stack.elasticsearch}/{bed.index}-line-items"
    documents: list[dict[str, Any]] = []
    async with aiohttp.ClientSession() as session:
        (await session.post(f"{base}/_refresh")).raise_for_status()
        opened = await session.post(f"{base}/_pit?keep_alive=1m")
        opened.raise_for_status()
        pit = (await opened.json())["id"]
        after: list[Any] | None = None
        while True:
            query: dict[str, Any] = {
                "size": 5_000, "sort": [{"_shard_doc": "asc"}], "pit": {"id": pit, "keep_alive": "1m"}, "_source": {"excludes": ["x_Limbs"]},
            }  # fmt: skip
            if after:
                query["search_after"] = after
            answer = await session.post(f"{bed.stack.elasticsearch}/_search", json=query)
            answer.raise_for_status()
            hits = (await answer.json())["hits"]["hits"]
            documents += [hit["_source"] for hit in hits]
            if len(hits) < 5_000:
                return documents
            after = hits[-1]["sort"]
