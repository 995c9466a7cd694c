"""What `ratemill doctor` asks Kafka: topics, workers, lag, conservation, prices, dead letters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from ..schemas.errors import UNREADABLE, BadPriceBook, RatemillError
from ..streams import topics as streams_topics
from ..streams.config import Config
from ..streams.hanging import HANGS_AFTER_S
from ..streams.prices_topic import PublishedBook, is_draft
from ..streams.progress import Counters, Progress, decode_progress
from ..streams.reach import admin_client, client_settings, denied
from ..streams.restore import read_to_end, readable
from ..streams.topics import Topics, lanes_of
from .dead_letter_topic import scan
from .findings import Finding, failed, ok, problem, warning

__all__ = ["balance", "kafka_checks", "setting_mistakes"]

LETTERS_READ = 10_000  # of each partition, the newest
STALLED_AFTER_S = 4.0
SKEW_S = 5.0
START_WORKER = "start `ratemill worker`"


class Seen(NamedTuple):
    """The last progress record of a lane."""

    progress: Progress
    timestamp_ms: int


async def kafka_checks(config: Config) -> list[Finding]:
    """Everything that Kafka can tell. Without Kafka, that."""
    findings: list[Finding] = []
    try:
        async with admin_client(config.kafka) as admin:
            brokers = len((await admin.describe_cluster())["brokers"])
            findings.append(ok("kafka", f"{config.kafka.bootstrap} answers, {brokers} broker{'s' if brokers > 1 else ''}"))
            partitions, about = await _topics(admin, config)
            findings += about
            if partitions:
                members, group = await _group(admin, config)
                findings.append(group)
                if open_ := await _open_transaction(config, partitions):
                    return [*findings, open_]  # whatever is read committed would wait for it
                findings += await _flow(config, partitions, members)
                findings += [*await _prices(config, partitions), await _dead_letters(config, partitions)]
        return findings
    except (KafkaError, OSError) as error:
        reason: Exception = await denied(config.kafka, error) or error
    except RatemillError as error:  # its last part is what to do
        reason = error
    return [*findings, failed("kafka", "", str(reason), "start it (`ratemill local up`) or set kafka.bootstrap")]


# -- topics ----------------------------------------------------------------------------------------------------------


async def _topics(admin: Any, config: Config) -> tuple[dict[str, int], list[Finding]]:
    """Partitions of our topics (none if some are missing), and what is wrong with them."""
    wanted = {topic.name: topic for topic in streams_topics.wanted_topics(config, Topics.of(config.kafka))}
    counts = await streams_topics.look(admin, wanted)
    missing = [name for name in wanted if name not in counts]
    if len(missing) == len(wanted):
        return {}, [warning("topics", "none is there yet", f"{START_WORKER}: the first one makes them")]
    if missing:
        return {}, [problem("topics", f"not there: {', '.join(missing)}", "restart a worker: it makes them; if one was deleted, its usage is lost")]
    mistakes = [
        f"{name} has {counts[name]} partitions, the configuration says {topic.num_partitions}"
        for name, topic in wanted.items()
        if counts[name] != topic.num_partitions and name in co_partitioned(config)
    ]
    findings = [problem("topics", m, "set kafka.partitions to what the topics have: it is frozen once usage was rated") for m in mistakes]
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in wanted])
    for answer in answers:
        for _, _, _, name, settings in answer.resources:
            actual = {setting[0]: setting[1] for setting in settings}
            for mistake, grave in setting_mistakes(wanted[name].topic_configs, actual):
                what = f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config …"
                findings.append((problem if grave else warning)("topics", f"{name}: {mistake}", what))
    if not findings:
        findings = [ok("topics", f"{len(wanted)} topics, {config.kafka.partitions} partitions each where it matters, settings as they should be")]
    return counts, findings


def co_partitioned(config: Config) -> set[str]:
    """Topics whose partition count must be the configured one."""
    topics = Topics.of(config.kafka)
    return {*topics.rate_sources, topics.rated, topics.windows, topics.dedupe}


def setting_mistakes(wanted: Mapping[str, str], actual: Mapping[str, str | None]) -> list[tuple[str, bool]]:
    """(what is wrong, whether usage can be lost or counted twice by it) of one topic's settings."""
    mistakes = []
    for key, value in wanted.items():
        has = actual.get(key) or ""
        if key == "cleanup.policy" and has != value:
            mistakes.append((f"cleanup.policy is {has}, should be {value}", True))
        elif key == "retention.ms" and has != "-1" and (value == "-1" or int(has or 0) < int(value)):
            mistakes.append((f"retention.ms is {has}, should be {value} or more", True))
        elif key == "max.message.bytes" and int(has or 0) < int(value):
            mistakes.append((f"max.message.bytes is {has}, should be {value} or more", False))
    return mistakes


# -- workers, lag, conservation --------------------------------------------------------------------------------------


async def _group(admin: Any, config: Config) -> tuple[int, Finding]:
    name = config.kafka.group_id
    (answer,) = await admin.describe_consumer_groups([name])
    group = answer.groups[0]
    code, state, members = group[0], group[2], group[5]
    if code or state in ("Dead", "Empty", ""):
        return 0, warning("workers", f"none runs (consumer group {name} is empty)", START_WORKER)
    text = f"{len(members)} in consumer group {name}, state {state}"
    if state != "Stable":
        return len(members), warning("workers", text, "partitions are being handed out; ask again in some seconds")
    return len(members), ok("workers", text)


async def _open_transaction(config: Config, partitions: Mapping[str, int]) -> Finding | None:
    """A transaction in which nothing happens: of a worker that died or is stopped, or one that Kafka has forgotten to end."""
    tps = [TopicPartition(topic, n) for topic, count in partitions.items() for n in range(count)]
    before = {tp: stable for tp, (stable, end) in (await readable(config.kafka, tps)).items() if stable < end}
    if not before:
        return None
    await asyncio.sleep(max(STALLED_AFTER_S, 3 * config.rating.commit_interval_s))
    found = [(tp, stable, end) for tp, (stable, end) in (await readable(config.kafka, list(before))).items() if before[tp] == stable < end]
    if not found:
        return None
    (topic, partition), stable, end = min(found)
    more = f", and {len(found) - 1} more partitions" if len(found) > 1 else ""
    return warning(
        "transactions", f"{topic} {partition} can be read to {stable} of {end}{more}: one is open, and nothing happens in it",
        f"ask again in {HANGS_AFTER_S} s: one of a dead worker has ended by then; otherwise `ratemill transactions list`, "
        "and see 'A transaction that hangs' in docs/operations.md",
    )  # fmt: skip


async def _flow(config: Config, partitions: Mapping[str, int], members: int) -> list[Finding]:
    lanes = await _progress(config, partitions)
    behind = await _behind(config, partitions, lanes)
    stalled: list[str] = []
    if behind and members:
        await asyncio.sleep(max(STALLED_AFTER_S, 3 * config.rating.commit_interval_s))
        later = await _progress(config, partitions)
        stalled = sorted({lane for lane, _ in behind if (lane in later) == (lane in lanes) and (lane not in later or later[lane] == lanes[lane])})
    findings = []
    for topic in dict.fromkeys(tp.topic for _, tp in behind):
        lag = sum(count for (_, tp), count in behind.items() if tp.topic == topic)
        text = f"about {lag:,} records of {topic} are not yet consumed"
        findings.append(warning("lag", text, "wait, or start more workers") if members else problem("lag", text, START_WORKER))
    if not behind:
        findings.append(ok("lag", "everything that was published is consumed"))
    for lane in stalled:
        what = "is Elasticsearch there? see below" if lane.startswith("index-") else "find this lane in the workers' logs, and restart its worker"
        findings.append(problem("progress", f"{lane} has usage waiting and does not move", what))
    findings.append(balance({name: seen.progress for name, seen in lanes.items()}))
    newest = max((seen.timestamp_ms for seen in lanes.values()), default=0) / 1e3
    if newest - time.time() > SKEW_S:
        findings.append(warning("clock", f"a worker's clock is {newest - time.time():.0f} s ahead of this one", "synchronise the clocks (NTP)"))
    return findings


def balance(lanes: Mapping[str, Progress]) -> Finding:
    """Invariant 2, over all lanes."""
    wrong = [f"{name} from {topic}" for name, lane in sorted(lanes.items()) for topic, counters in lane.sources.items() if not counters.balanced]
    if wrong:
        return problem("conservation", f"received is not counted + duplicates + dead-lettered in {', '.join(wrong)}", "report this as a defect")
    rate = [counters for name, lane in lanes.items() if name.startswith("rate-") for counters in lane.sources.values()]
    total = Counters(*(sum(getattr(c, field) for c in rate) for field in Counters.__struct_fields__))
    return ok(
        "conservation",
        f"{len(lanes)} lanes balance; rate: {total.received:,} received = {total.counted:,} counted + {total.duplicates:,} duplicates "
        f"+ {total.dead_lettered:,} dead-lettered",
    )


async def _progress(config: Config, partitions: Mapping[str, int]) -> dict[str, Seen]:
    """The last progress record of every lane."""
    topic = Topics.of(config.kafka).progress
    found: dict[str, Seen] = {}
    async with aclosing(read_to_end(config.kafka, {TopicPartition(topic, n): 0 for n in range(partitions[topic])})) as batches:  # type: ignore[type-var]
        async for _, records in batches:
            for record in records:
                if record.key is not None and record.value is not None:
                    found[record.key.decode(errors="replace")] = Seen(decode_progress(record.value), record.timestamp)
    return found


async def _behind(config: Config, partitions: Mapping[str, int], lanes: Mapping[str, Seen]) -> dict[tuple[str, TopicPartition], int]:
    """How many offsets each lane is behind, where there really is a record: transactions leave markers that nobody consumes."""
    wanted = lanes_of(Topics.of(config.kafka), partitions)
    consumer = AIOKafkaConsumer(**client_settings(config.kafka), enable_auto_commit=False, isolation_level="read_committed", fetch_max_wait_ms=100)
    behind: dict[tuple[str, TopicPartition], int] = {}
    try:
        await consumer.start()
        sources = {tp: lane for lane, tp in wanted}
        ends, begins = await consumer.end_offsets(list(sources)), await consumer.beginning_offsets(list(sources))
        consumer.assign(list(sources))
        at = {}
        for tp, lane in sources.items():
            known = lanes[lane].progress.next_offsets.get(tp.topic, 0) if lane in lanes else 0
            at[tp] = max(known, begins[tp])
            consumer.seek(tp, at[tp])
        open_ = {tp for tp in sources if at[tp] < ends[tp]}
        deadline = time.monotonic() + 10
        while open_ and time.monotonic() < deadline:
            for tp, records in (await consumer.getmany(*open_, timeout_ms=200, max_records=len(open_))).items():
                if records:
                    behind[sources[tp], tp] = ends[tp] - at[tp]
            open_ = {tp for tp in open_ if (sources[tp], tp) not in behind and await consumer.position(tp) < ends[tp]}
    finally:
        await consumer.stop()
    return behind


# -- prices, dead letters --------------------------------------------------------------------------------------------


async def _prices(config: Config, partitions: Mapping[str, int]) -> list[Finding]:
    """Is a price book published, of what age, and does every lane use it?"""
    topic = Topics.of(config.kafka).prices
    last = None
    async with aclosing(read_to_end(config.kafka, {TopicPartition(topic, 0): 0})) as batches:  # type: ignore[type-var]
        async for _, records in batches:
            last = next((record.value for record in reversed(records) if not is_draft(record.value)), last)
    if last is None:
        return [warning("prices", "no price book is published: all usage is unpriced", "ratemill prices publish FILE --reason TEXT")]
    return price_findings(topic, last, await _progress(config, partitions), time.time_ns())


def price_findings(topic: str, last: bytes, lanes: Mapping[str, Seen], now_ns: int) -> list[Finding]:
    """What there is to say of the last record that put a book in force."""
    try:
        published = msgspec.json.decode(last, type=PublishedBook)
        digest = published.tariff().digest
    except (*UNREADABLE, BadPriceBook) as error:
        return [problem("prices", f"the last record of {topic} is no price book: {str(error).splitlines()[0]}", "publish a good one")]
    age = max(0, now_ns - published.published_at_ns) // 10**9
    days, hours = age // 86_400, age % 86_400 // 3_600
    old = f"{days} days" if days else f"{hours} hours" if hours else f"{age // 60} minutes"
    findings = [ok("prices", f"{published.name}, digest {digest[:12]}, published {old} ago by {published.author}: {published.reason}")]
    others = sorted(name for name, seen in lanes.items() if name.startswith("rate-") and seen.progress.book != digest)
    if others:
        findings.append(warning("prices", f"not yet taken over by {', '.join(others)}", "wait some seconds; without a worker, " + START_WORKER))
    return findings


async def _dead_letters(config: Config, partitions: Mapping[str, int]) -> Finding:
    topic = Topics.of(config.kafka).dead_letter
    tps = [TopicPartition(topic, n) for n in range(partitions[topic])]
    consumer = AIOKafkaConsumer(**client_settings(config.kafka), enable_auto_commit=False, isolation_level="read_committed")
    try:
        await consumer.start()
        ends = await consumer.end_offsets(tps)
    finally:
        await consumer.stop()
    found = await scan(config, lambda _: True, every=True, starts={tp: max(0, ends[tp] - LETTERS_READ) for tp in tps})
    if not found.waiting:
        return ok("dead letters", f"none waits ({len(found.replayed)} were replayed)" if found.replayed else "none")
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.waiting.most_common())
    return warning("dead letters", f"waiting: {reasons}", "ratemill dead-letters list; docs/operations.md says what each reason asks for")
