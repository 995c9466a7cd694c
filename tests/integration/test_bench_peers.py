"""A peer runs in its own environment on a real Kafka, and one that loses an event is caught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ratemill.bench.broker import Broker
from ratemill.bench.fill import ensure_filled, expected_of
from ratemill.bench.peers.environments import python_of
from ratemill.bench.peers.programs import PEERS, Peer
from ratemill.bench.peers.results import PeerResult
from ratemill.bench.peers.running import clear, run_peer
from ratemill.bench.shape import Shape
from ratemill.local.stack import Stack
from ratemill.schemas.errors import Unavailable

pytestmark = pytest.mark.integration

SHAPE = Shape(4_000, 11)
SCRIPT = next(peer for peer in PEERS if peer.family == "script")
FORGETFUL = """
from ratemill.bench.peers import script

class Forgetful(script.Windows):
    lost = None

    def add(self, event):
        Forgetful.lost = Forgetful.lost or event
        if event != Forgetful.lost:  # nor its duplicate, which would make up for it
            super().add(event)

script.Windows = Forgetful
script.main()
"""


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return python_of("script", print)
    except Unavailable as error:
        pytest.skip(str(error))


async def run(stack: Stack, folder: Path, peer: Peer, **more: Any) -> PeerResult:
    broker = Broker(stack.kafka, None)
    topic = await ensure_filled(broker.bootstrap, SHAPE, print)
    expected = await expected_of(broker.bootstrap, topic, SHAPE, folder, print)
    try:
        return await run_peer(broker, folder / "peer", peer, 1, topic, expected, print, **more)
    finally:
        await clear(broker.bootstrap)


@pytest.fixture
def forgetful(python: Path, tmp_path: Path) -> Peer:
    program = tmp_path / "forgetful.py"
    program.write_text(FORGETFUL)
    return SCRIPT._replace(command=lambda _: [str(python), str(program)])


async def test_a_peer_is_measured_and_agrees_with_the_oracle(stack: Stack, python: Path, tmp_path: Path) -> None:
    result = await run(stack, tmp_path, SCRIPT)
    assert result.mismatches == []
    assert (result.events, result.row) == (4_000, "script")
    assert result.records >= result.windows > 3_000
    assert 0 < result.cpu_s < result.wall_s + 10
    assert result.peak_mb > 10


async def test_a_peer_that_loses_an_event_is_caught(stack: Stack, forgetful: Peer, tmp_path: Path) -> None:
    result = await run(stack, tmp_path, forgetful, stalled_after_s=4.0)
    (wrong,) = result.mismatches
    assert "expected quantity" in wrong


async def test_a_peer_that_ends_early_is_told_with_its_last_words(stack: Stack, forgetful: Peer, tmp_path: Path) -> None:
    (tmp_path / "forgetful.py").write_text("raise SystemExit('no such broker')")
    with pytest.raises(Unavailable, match=r"ended with status 1; the end of its log:\nno such broker"):
        await run(stack, tmp_path, forgetful)
