"""Watchers that die between any two steps, or work at once: every firing is delivered, under one id. Costs come from a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness.api import environment_of
from harness.receiver import Receiver
from harness.zygote import Forked, start
from ratemill.api.alerting.evaluation import periods_of
from ratemill.api.alerting.rules import Definition
from ratemill.api.alerting.store import Alerts
from ratemill.store.database import open_database
from ratemill.store.tables import leases
from sqlalchemy import select

MAIN = Path(__file__).parent / "harness" / "watch_main.py"
THRESHOLDS = ("1", "2.5", "40", "99.999", "1000000")
REACHED = 4
POINTS = ("recorded", "sending", "sent", "settled")


class World:
    """A database with rules, costs of this month, and watchers."""

    def __init__(self, folder: Path, receiver: Receiver, rules: int = 1, lease_s: float = 1.5) -> None:
        self.folder, self.receiver = folder, receiver
        url = f"sqlite:///{folder}/api.db"
        self.engine = open_database(url)
        self.alerts = Alerts(self.engine, allow_private=True)
        self.rules = []
        for number in range(rules):
            secret, rule = self.alerts.create("acme", f"rule {number}", Definition("cost", THRESHOLDS, "USD"), f"{receiver.url}/{number}")
            receiver.secrets[f"/{number}"] = [secret]
            self.rules.append(rule)
        row = {"group": {}, "currency": "USD", "billed_cost": "99.999", "effective_cost": "0", "line_items": 1, "unpriced": 0}
        (folder / "costs.json").write_text(json.dumps({periods_of(int(time.time()))[1]: [row]}))
        self.environment = environment_of({
            "RATEMILL_API__DATABASE": url, "RATEMILL_API__ALLOW_PRIVATE_WEBHOOKS": "true", "RATEMILL_WATCH__INTERVAL_S": "0.3",
            "RATEMILL_WATCH__LEASE_S": str(lease_s), "RATEMILL_WATCH__WEBHOOK_TIMEOUT_S": str(lease_s / 3),
        })  # fmt: skip

    @contextmanager
    def watcher(self, **spec: Any) -> Iterator[Forked]:
        words = json.dumps({"costs": str(self.folder / "costs.json"), "evaluated": str(self.folder / "evaluated"), **spec})
        with (self.folder / "watch.log").open("ab") as log:
            process = start(str(MAIN), words, "watch", cwd=self.folder, env=self.environment, output=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    def until(self, what: Callable[[], Any], process: Forked | None = None, within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        while not what():
            assert time.monotonic() < deadline, (self.receiver, (self.folder / "watch.log").read_text()[-3_000:])
            assert process is None or process.poll() is None, (self.folder / "watch.log").read_text()[-3_000:]
            time.sleep(0.05)

    def delivered(self) -> bool:
        found = [each for rule in self.rules for each in self.alerts.deliveries(rule.id)]
        return len(found) == REACHED * len(self.rules) and all(each.status == "delivered" for each in found)

    @property
    def workers(self) -> set[str]:
        """Processes that have looked at costs."""
        path = self.folder / "evaluated"
        return set(path.read_text().split()) if path.exists() else set()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def ids(receiver: Receiver) -> dict[tuple[str, str], set[str]]:
    """(rule, threshold) -> webhook-ids under which it came."""
    found: dict[tuple[str, str], set[str]] = {}
    for each in receiver.got:
        found.setdefault((each.path, each.body["data"]["threshold"]), set()).add(each.id)
    return found


def killed(world: World, points: Sequence[str], **spec: Any) -> None:
    """Each watcher dies at its step; the last one does not."""
    for point in points:
        with world.watcher(kill=point, **spec) as process:
            assert process.wait(60) == -9, (world.folder / "watch.log").read_text()
    with world.watcher(**spec) as process:
        world.until(world.delivered, process)


def test_what_fired_is_delivered_under_one_id_wherever_a_watcher_dies(tmp_path: Path, receiver: Receiver) -> None:
    receiver.plans["/0"] = [500, 200]
    world = World(tmp_path, receiver)
    killed(world, POINTS)
    found = ids(receiver)
    assert {threshold for _, threshold in found} == set(THRESHOLDS[:REACHED])
    assert all(len(its) == 1 for its in found.values())
    assert len(receiver.got) > REACHED  # what was sent, and not written down, came twice
    assert not receiver.refused


def test_with_a_fresh_id_for_each_try_a_receiver_cannot_tell(tmp_path: Path, receiver: Receiver) -> None:
    """Negative control."""
    world = World(tmp_path, receiver)
    killed(world, ["sent"], breaks=["fresh_ids"])
    assert any(len(its) > 1 for its in ids(receiver).values())


def test_of_two_watchers_one_works_and_the_other_takes_over(tmp_path: Path, receiver: Receiver) -> None:
    world = World(tmp_path, receiver, rules=3, lease_s=6)
    with ExitStack() as stack:
        first, second = stack.enter_context(world.watcher()), stack.enter_context(world.watcher())
        world.until(world.delivered)
        assert len(receiver.got) == len({each.id for each in receiver.got}) == REACHED * 3
        assert len(world.workers) == 1
        working, waiting = (first, second) if str(first.pid) in world.workers else (second, first)
        working.kill()
        world.until(lambda: str(waiting.pid) in world.workers, waiting)
    assert len(receiver.got) == REACHED * 3  # what has fired does not fire again
    with world.engine.connect() as connection:  # one that was told to stop leaves the lease to whoever comes
        assert (waiting.returncode, connection.execute(select(leases.c.holder)).scalar_one()) == (0, "")


def test_without_the_lease_both_work(tmp_path: Path, receiver: Receiver) -> None:
    """Negative control: the same two processes, and what the test above looks at."""
    receiver.plans["/0"] = [0.4] * 8  # slow, so that the other one finds it still to be delivered
    world = World(tmp_path, receiver, lease_s=6)
    with world.watcher(breaks=["no_lease"]), world.watcher(breaks=["no_lease"]):
        world.until(lambda: len(world.workers) == 2)
        (tmp_path / "costs.json").write_text((tmp_path / "costs.json").read_text().replace("99.999", "1000000"))
        receiver.plans["/0"] = [0.4] * 8
        world.until(lambda: len(receiver.got) > len({each.id for each in receiver.got}))
