"""Faults: what each of a plan's does to the world, and how all of them end."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .network import KINDS, LATE
from .plans import Fault
from .scheduler import Process
from .workers import Group, Host
from .world import TIMES, World

__all__ = ["Faults"]


class Faults:
    """The faults of one world, on their way."""

    def __init__(self, world: World, hosts: list[Host], group: Group) -> None:
        self.world = world
        self.hosts = hosts
        self._group = group
        self._armed: dict[Host, tuple[str, Callable[[], object]]] = {}  # what happens with the next request of a kind
        world.kafka.on_request = world.elasticsearch.on_request = self._on_request
        for fault in world.plan.faults:
            world.scheduler.at(fault.at, lambda fault=fault: self._begin(fault))  # type: ignore[misc]

    def _begin(self, fault: Fault) -> None:
        self.world.trace(f"FAULT         {fault.kind}, worker-{fault.worker}, {fault.seconds:.2f} s")
        self.world.count(f"fault: {fault.kind}")
        random = Random(fault.number)
        action: Callable[[Fault, Host, Random], None] = getattr(self, "_" + fault.kind.replace(" ", "_").replace("-", "_"))
        action(fault, self.hosts[fault.worker], random)

    def _until(self, fault: Fault, end: Callable[[], None]) -> None:
        self.world.scheduler.at(min(self.world.scheduler.now + fault.seconds, self.world.plan.heal_s), end)

    # -- workers -----------------------------------------------------------------------------------------------------

    def _on_request(self, process: Process, what: str) -> None:
        if self._armed:
            for host, (wanted, action) in self._armed.items():
                if host.process is process and what == wanted:
                    del self._armed[host]
                    action()
                    return

    def _doom(self, host: Host, steps: int) -> None:
        if host.up and host.process is not None:
            host.process.doom(steps)

    def _crash(self, fault: Fault, host: Host, random: Random) -> None:
        self._doom(host, random.randint(1, 40))
        self._restart(fault, host)

    def _crash_in_a_commit(self, fault: Fault, host: Host, random: Random) -> None:
        self._armed[host] = "AddPartitionsToTxn", lambda: self._doom(host, random.randint(1, 24))
        self._restart(fault, host)

    def _crash_while_taking_over(self, fault: Fault, host: Host, random: Random) -> None:
        self._armed[host] = "InitProducerId", lambda: self._doom(host, random.randint(1, 40))
        if random.random() < 0.7:
            self._rebalance(fault, host, random)
        self._restart(fault, host)

    def _lose_disk(self, fault: Fault, host: Host, random: Random) -> None:
        host.crash()
        self.world.disks.lose(f"{host.name}/")
        self._restart(fault, host)

    def _restart(self, fault: Fault, host: Host) -> None:
        """Its supervisor starts it again, sooner or later; until then others may take over."""
        self.world.every(max(0.3, fault.seconds), lambda: None if self.world.scheduler.now > self.world.plan.heal_s else host.start())

    def _stall(self, fault: Fault, host: Host) -> None:
        process = host.process
        if process is None or not process.alive:
            return
        process.stall()
        self.world.count("stops")
        self.world.trace(f"world         {host.name} is stopped")
        self._until(fault, lambda: self._revive(host, process))

    def _revive(self, host: Host, process: Process) -> None:
        if process.stalled:
            self.world.trace(f"world         {host.name} is revived")
            process.revive()

    def _stop(self, fault: Fault, host: Host, random: Random) -> None:
        self._stall(fault, host)

    def _unanswered(self, fault: Fault, host: Host, random: Random) -> None:
        wanted = random.choice(("InitProducerId", "AddPartitionsToTxn", "Produce", "TxnOffsetCommit", "EndTxn", "EndTxn", "EndTxn", "POST _bulk"))
        network = self.world.elasticsearch if wanted == "POST _bulk" else self.world.kafka
        self._armed[host] = wanted, lambda: setattr(network, "forced", random.choice((*KINDS, LATE)))

    def _stop_in_a_commit(self, fault: Fault, host: Host, random: Random) -> None:
        wanted = random.choice(("AddPartitionsToTxn", "Produce", "AddOffsetsToTxn", "TxnOffsetCommit", "EndTxn", "EndTxn"))
        # The request itself is on its way already.
        self._armed[host] = wanted, lambda: self.world.scheduler.after(0.03 * random.random() ** 2, lambda: self._stall(fault, host))

    def _deaf(self, fault: Fault, host: Host, random: Random) -> None:
        host.deaf_until = min(self.world.scheduler.now + fault.seconds, self.world.plan.heal_s)

    def _cut(self, fault: Fault, host: Host, random: Random) -> None:
        self.world.kafka.cut_until[host.name] = min(self.world.scheduler.now + fault.seconds, self.world.plan.heal_s)

    def _leave(self, fault: Fault, host: Host, random: Random) -> None:
        host.leave()
        self._restart(fault, host)

    def _join(self, fault: Fault, host: Host, random: Random) -> None:
        extra = Host(self.world, host.group, len(self.hosts))
        self.hosts.append(extra)
        extra.start()

    def _rebalance(self, fault: Fault, host: Host, random: Random) -> None:
        host.group.rebalance("for no reason")

    # -- servers, network, deliveries --------------------------------------------------------------------------------

    def _broker_down(self, fault: Fault, host: Host, random: Random) -> None:
        self.world.kafka.down_until = min(self.world.scheduler.now + fault.seconds, self.world.plan.heal_s)

    def _broker_paused(self, fault: Fault, host: Host, random: Random) -> None:
        self.world.kafka.paused_until = min(self.world.scheduler.now + fault.seconds, self.world.plan.heal_s)

    def _elasticsearch_down(self, fault: Fault, host: Host, random: Random) -> None:
        self.world.elasticsearch.down_until = min(self.world.scheduler.now + fault.seconds, self.world.plan.heal_s)

    def _elasticsearch_paused(self, fault: Fault, host: Host, random: Random) -> None:
        self.world.elasticsearch.paused_until = min(self.world.scheduler.now + fault.seconds, self.world.plan.heal_s)

    def _elasticsearch_read_only(self, fault: Fault, host: Host, random: Random) -> None:
        self.world.cluster.blocked = True
        self._until(fault, lambda: setattr(self.world.cluster, "blocked", False))

    def _elasticsearch_troubled(self, fault: Fault, host: Host, random: Random) -> None:
        self.world.cluster.troubled = random.choice((0.1, 0.5, 0.9))
        self._until(fault, lambda: setattr(self.world.cluster, "troubled", 0.0))

    def _index_deleted(self, fault: Fault, host: Host, random: Random) -> None:
        cluster = self.world.cluster
        if not cluster.lose_index():
            # An index is empty only until the first write to it, which this worker may be about to send.
            self._armed[host] = "POST _bulk", cluster.lose_index

    def _noise(self, fault: Fault, host: Host, random: Random) -> None:
        for network in (self.world.kafka, self.world.elasticsearch):
            network.faulty = random.choice((0.02, 0.1, 0.3))
        self._until(fault, self._silence)

    def _silence(self) -> None:
        self.world.kafka.faulty = self.world.elasticsearch.faulty = 0.0

    def _deliveries(self, fault: Fault, host: Host, random: Random) -> None:
        self.world.broken_deliveries = True
        self._until(fault, lambda: setattr(self.world, "broken_deliveries", False))

    def _compaction(self, fault: Fault, host: Host, random: Random) -> None:
        for partition in self.world.broker.partitions.values():
            if partition.tp.topic.endswith(("usage.rated", "state.windows", "state.progress")):
                partition.compact(random.random)

    # -- the end of all faults ---------------------------------------------------------------------------------------

    def heal(self) -> None:
        """From now on nothing is in the way: revive, restart, repair."""
        world = self.world
        world.trace("world         all faults end")
        self._armed.clear()
        self._silence()
        world.broken_deliveries = world.cluster.blocked = False
        if world.counts.get("deliveries dropped"):
            # A lane sees the gap when something comes behind it. Faust loses batches in rebalances only, and those start lanes anew.
            self._group.rebalance("a batch was lost")
        world.cluster.troubled = 0.0
        for network in (world.kafka, world.elasticsearch):
            network.down_until = min(network.down_until, world.scheduler.now)
            network.paused_until = min(network.paused_until, world.scheduler.now)
            network.cut_until.clear()
        world.broker.slow_markers = False
        for host in self.hosts:
            host.deaf_until = 0.0
            if host.process is not None:
                host.process.doomed_in = 0
                self._revive(host, host.process)
            # One who is just leaving is not waited for.
            host.start()
            world.every(TIMES.SESSION, host.start)
