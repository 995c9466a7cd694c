"""`make bench-peers`: other systems on the bench's job, in one run with Ratemill, each checked against the oracle."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from ...schemas.errors import RatemillError, Unavailable
from ...streams.config import load_config
from ...streams.topics import Topics
from ..broker import Broker, Say, kafka, work_dir
from ..fill import ensure_filled, expected_of
from ..kafka_io import read_all
from ..limits import say
from ..oracle import Expected
from ..report import keep
from ..run import run_once
from ..shape import PARTITIONS, Shape
from .programs import PEERS, Peer
from .results import COLUMNS, PeerResult, markdown, rows
from .running import clear, run_peer

__all__ = ["main"]

RATEMILL = "ratemill direct"


def _arguments() -> argparse.Namespace:
    families = tuple(dict.fromkeys(peer.family for peer in PEERS))
    parser = argparse.ArgumentParser(prog="python -m ratemill.bench.peers", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N", help="events in the topic (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="R", help="runs of each system, interleaved (default: 3; of Faust one)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", metavar="A,B", help=f"these alone, beside Ratemill: {', '.join(families)}")
    parser.add_argument("--without", default="", metavar="A,B", help="all but these")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--kafka", metavar="BOOTSTRAP", help="use this Kafka; its topics named bench.* are deleted")
    where.add_argument("--dir", type=Path, metavar="DIR", help="keep Kafka's data here, so that the next bench need not fill the topic again")
    given = parser.parse_args()
    if given.events < 1 or given.rounds < 1:
        parser.error("--events and --rounds must be at least 1")
    without = {name for name in given.without.split(",") if name}
    given.families = (set(families) if given.only is None else set(given.only.split(","))) - without
    if unknown := (given.families | without) - set(families):
        parser.error(f"no such system: {', '.join(sorted(unknown))}; there are {', '.join(families)}")
    return given


async def _ratemill(broker: Broker, folder: Path, round_: int, shape: Shape, expected: Expected, say: Say) -> PeerResult:
    """The direct path, in the form of the peers' results."""
    result = await run_once(broker, folder, "direct", round_, shape, expected, say)
    topics = Topics.of(load_config(str(folder / "ratemill.toml"), environment={}).kafka)
    written = 0
    async for records in read_all(broker.bootstrap, topics.rated, PARTITIONS):
        written += sum(len(record.key) + len(record.value or b"") for record in records)
    return PeerResult(
        row=RATEMILL, version="this tree", round=round_, events=result.events, wall_s=result.wall_s, cpu_s=result.cpu_s,
        events_per_cpu_s=result.events_per_cpu_s, calibration=result.calibration, peak_mb=result.peak_mb, records=result.line_items_written,
        written_mb=round(written / 1e6, 1), windows=expected.windows, mismatches=result.mismatches,
    )  # fmt: skip


def _installed(peers: list[Peer]) -> list[Peer]:
    """Those that can be installed; a line for each of the others."""
    found, told = [], set()
    for peer in peers:
        try:
            peer.command(say)
            found.append(peer)
        except Unavailable as error:
            if peer.family not in told:
                print(f"{peer.family} is skipped: {error}", file=sys.stderr)
            told.add(peer.family)
    return found


def _measure(broker: Broker, folder: Path, given: argparse.Namespace, peers: list[Peer]) -> tuple[list[PeerResult], list[str]]:
    shape = Shape(given.events, given.seed)
    topic = asyncio.run(ensure_filled(broker.bootstrap, shape, say))
    expected = asyncio.run(expected_of(broker.bootstrap, topic, shape, folder, say))
    results: list[PeerResult] = []
    failed: list[str] = []

    def took(result: PeerResult) -> None:
        checks = "MISMATCH" if result.mismatches else "OK"
        say(f"{result.row}, round {result.round}: {result.events_per_cpu_s:,} events per CPU-second, {checks}")
        results.append(result)

    for round_ in range(1, given.rounds + 1):
        took(asyncio.run(_ratemill(broker, folder / "run", round_, shape, expected, say)))
        for peer in peers:
            if round_ > 1 and peer.once:
                continue
            try:
                took(asyncio.run(run_peer(broker, folder / "peer", peer, round_, topic, expected, say)))
            except Unavailable as error:
                # It may have taken an hour to come here: what the others do is still wanted.
                failed.append(f"{peer.name}, round {round_}: FAILED {error}")
                say(failed[-1])
    asyncio.run(clear(broker.bootstrap))
    return results, failed


def main() -> int:
    """Run what was asked for; 1 when anything does not agree with the oracle."""
    given = _arguments()
    # A polite end must still end the servers and the peer.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        peers = _installed([peer for peer in PEERS if peer.family in given.families])
        with work_dir(given.dir) as folder, kafka(folder, given.kafka, say) as broker:
            results, failed = _measure(broker, folder, given, peers)
    except RatemillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    print(f"{given.events:,} events; CPU and memory of each system's process only, pinned to one core:\n")
    print(markdown(COLUMNS, rows(results, RATEMILL)) + "\n")
    for peer in peers:
        print(f"- {peer.name}: {peer.told}.")
    for line in [*failed, *(f"{r.row}, round {r.round}: MISMATCH {line}" for r in results for line in r.mismatches)]:
        print(line)
    keep("peers", {"runs": results, "settings": {peer.name: peer.told for peer in peers}})
    return 1 if failed or any(result.mismatches for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
