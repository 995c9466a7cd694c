"""What arrived in the raw topics, as counts: what `ratemill watch` keeps of it to tell "no usage" from "collector silent"."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["HOUR_S", "Arrivals"]

HOUR_S = 3_600


@dataclass
class Arrivals:
    """Some records of the raw topics. Hours are their first second, times whole seconds since 1970, UTC.

    positions: (topic, partition) -> the offset behind what is counted here. through: everything that had arrived by then is counted, here
    or before; 0: not known, there is more to read.
    """

    usage: dict[tuple[str, int], int] = field(default_factory=dict)  # (source, hour of the usage) -> events
    arrived: dict[tuple[str, int], int] = field(default_factory=dict)  # (source, hour in which they arrived) -> events
    latest: dict[tuple[str, int], int] = field(default_factory=dict)  # (source, hour of the usage) -> when the last of them arrived
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    through: int = 0

    def add(self, source: str, time: int, arrived: int) -> None:
        """Count one event: when its usage was, and when it arrived."""
        usage, arrival = (source, time - time % HOUR_S), (source, arrived - arrived % HOUR_S)
        self.usage[usage] = self.usage.get(usage, 0) + 1
        self.arrived[arrival] = self.arrived.get(arrival, 0) + 1
        self.latest[usage] = max(self.latest.get(usage, 0), arrived)
