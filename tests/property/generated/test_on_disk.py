"""The store on disk gives the same as the store in memory: line items, and everything that is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from ratemill.streams.core.store import MemoryStore
from ratemill.streams.rocks import RocksStore

from generated.cases import CASES_PER_WORLD
from generated.chance import Chance
from generated.delivery import Delivery, Play
from generated.histories import history_of
from generated.worlds import PROFILES, world_of

SEEDS = range(0, 40, CASES_PER_WORLD)
KEPT = b"esftkabrui"  # first bytes of keys; identities and positions are kept in another way


@pytest.mark.parametrize("profile", [profile.name for profile in PROFILES])
def test_the_store_on_disk_keeps_what_the_one_in_memory_keeps(profile: str, tmp_path: Path) -> None:
    for seed in SEEDS:
        world = world_of(seed // CASES_PER_WORLD, profile)
        history = history_of(Chance(f"case {seed} {profile}"), world)
        memory, disk = MemoryStore(), RocksStore(tmp_path / str(seed), write_buffer_bytes=1 << 20, recent_ids=50)
        one, two = (Delivery(Chance(str(seed)), world, history, Play(store=store)).play() for store in (memory, disk))
        assert two.topic.latest == one.topic.latest, f"seed {seed}"
        for kind in KEPT:
            assert disk.scan(bytes([kind])) == memory.scan(bytes([kind])), f"seed {seed}, keys that begin with {chr(kind)}"
        disk.close()
