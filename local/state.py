"""What is written down about a stack (`stack.json`) and what is reported about it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..schemas.errors import BadInput
from .artifacts import write_atomically
from .ports import HOST
from .processes import Process, find

__all__ = ["Addresses", "ServiceStatus", "StackStatus", "State", "read_stack"]

FILE = "stack.json"


@dataclass(frozen=True)
class Addresses:
    """Where a running stack listens."""

    kafka: str  # bootstrap servers
    elasticsearch: str  # URL


@dataclass(frozen=True)
class ServiceStatus:
    """One service as it is now; `state` is up, silent (it runs and does not answer) or dead."""

    name: str
    address: str
    pid: int
    state: str
    log: str


@dataclass(frozen=True)
class StackStatus:
    """A stack as it is now; without services, nothing was started there."""

    dir: str
    services: list[ServiceStatus]
    addresses: Addresses | None

    @property
    def running(self) -> bool:
        """Whether every service answers."""
        return bool(self.services) and all(s.state == "up" for s in self.services)

    def as_dict(self) -> dict[str, Any]:
        """For `ratemill local status --json`."""
        return {
            "dir": self.dir,
            "running": self.running,
            "kafka": self.addresses.kafka if self.addresses else None,
            "elasticsearch": self.addresses.elasticsearch if self.addresses else None,
            "services": [asdict(s) for s in self.services],
        }


@dataclass
class State:
    """Ports by service as (service's own, its internal one), and the processes that were started."""

    ports: dict[str, tuple[int, int]]
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def brokers(self) -> list[str]:
        """Names of the Kafka processes, in order: kafka, kafka-2, kafka-3."""
        return [name for name in self.ports if name.startswith("kafka")]

    @property
    def addresses(self) -> Addresses:
        """Addresses as clients use them."""
        kafka = ",".join(f"{HOST}:{self.ports[name][0]}" for name in self.brokers)
        return Addresses(kafka, f"http://{HOST}:{self.ports['elasticsearch'][0]}")

    def address(self, name: str) -> str:
        """Address of one service."""
        return self.addresses.elasticsearch if name == "elasticsearch" else f"{HOST}:{self.ports[name][0]}"

    def living(self, name: str) -> bool:
        """Whether the service's process runs."""
        process = self.processes.get(name)
        return process is not None and find(process) is not None

    def save(self, directory: Path) -> None:
        """Write `stack.json`."""
        content = {
            "kafka": self.addresses.kafka,
            "elasticsearch": self.addresses.elasticsearch,
            "ports": self.ports,
            "processes": [asdict(p) for p in self.processes.values()],
        }
        write_atomically(directory / FILE, json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, directory: Path) -> State | None:
        """Read `stack.json`; None if nothing was started in this folder, or it was taken down."""
        path = directory / FILE
        try:
            content = json.loads(path.read_text())
            ports = {name: (int(own), int(internal)) for name, (own, internal) in content["ports"].items()}
            processes = {p["name"]: Process(**p) for p in content["processes"]}
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{path} cannot be read ({error}); end the processes that it names, remove it, and start again") from error
        return cls(ports, processes)


def read_stack(directory: Path | str) -> Addresses | None:
    """Addresses of the stack in this folder if all its processes run, otherwise None. Asks no network."""
    state = State.load(Path(directory).expanduser().absolute())
    if state is None or not all(state.living(name) for name in state.ports):
        return None
    return state.addresses
