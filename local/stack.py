"""A real Kafka and a real Elasticsearch on this machine, started with nothing but Python packages.

    DIR/stack.json        addresses and processes; absent when the stack is down
    DIR/kafka/            settings and data of the broker (kafka-2/, kafka-3/ with three)
    DIR/elasticsearch/    settings, module and data
    DIR/logs/             one log per process; NAME.log.1 is the run before

`up` is one loop over the services: what lives is kept, what is missing or died is started, and it is done only when all
of them answer. So it starts a stack, heals a half-dead one and confirms a running one by the same steps.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..schemas.errors import BadInput, Unavailable
from . import elasticsearch_home, kafka_server
from .artifacts import Jars, Progress, ensure_jars, exclusive
from .kafka_server import Listener
from .ports import free_ports, is_free
from .processes import Process, find, spawn, tail, terminate
from .state import FILE, Addresses, ServiceStatus, StackStatus, State, read_stack

__all__ = ["DEFAULT_DIR", "Addresses", "Listener", "Stack", "read_stack"]

DEFAULT_DIR = Path(".ratemill/local")
LOCK = ".lock"
READY_TIMEOUT = 120.0
RELEASE_TIMEOUT = 5.0
POLL = 0.2

# A broker hands over its partitions before it ends. The last of several has no quorum left that could acknowledge that and
# would wait for minutes; what it has acknowledged is in its log either way.
PATIENCE_ONE_BROKER, PATIENCE_SEVERAL = 20.0, 5.0


def _quiet(line: str) -> None:
    """Progress for callers who do not care."""


def _patience(state: State) -> float:
    return PATIENCE_ONE_BROKER if len(state.brokers) == 1 else PATIENCE_SEVERAL


class Stack:
    """One stack in one folder; several side by side need different folders only.

    A port of 0 means: the port it already has, or else any free one. `max_lifetime` bounds the seconds that its processes
    live, whatever happens to the process that started them. `listeners` and `broker_settings` (lines of server.properties)
    are not written down with the stack: whoever starts its brokers again names them again.
    """

    def __init__(
        self,
        dir: Path | str = DEFAULT_DIR,
        kafka_port: int = 0,
        elasticsearch_port: int = 0,
        max_lifetime: float = 0,
        kafka_brokers: int = 1,
        ready_timeout: float = READY_TIMEOUT,
        listeners: Sequence[Listener] = (),
        broker_settings: Mapping[str, str] | None = None,
    ) -> None:
        self.dir = Path(dir).expanduser().absolute()
        if set(str(self.dir)) & set(",\n\r"):
            raise BadInput(f"{self.dir!s} cannot hold a stack: Kafka reads a comma in its data folder as a list; choose another --dir")
        if kafka_brokers not in (1, 3):
            raise BadInput(f"{kafka_brokers} Kafka brokers: choose 1, or 3 to see one of them fail")
        self.kafka_port = kafka_port
        self.elasticsearch_port = elasticsearch_port
        self.max_lifetime = max_lifetime
        self.kafka_brokers = kafka_brokers
        self.ready_timeout = ready_timeout
        self.listeners = tuple(listeners)
        self.broker_settings = dict(broker_settings or {})

    @property
    def kafka(self) -> str:
        """Bootstrap servers of the stack that was started in this folder."""
        return self._known().addresses.kafka

    @property
    def elasticsearch(self) -> str:
        """URL of the stack that was started in this folder."""
        return self._known().addresses.elasticsearch

    def up(self, progress: Progress = _quiet) -> Addresses:
        """Start what does not run, and return when everything answers. What this call started and cannot finish, it ends."""
        self._make_dir()
        jars = ensure_jars(progress)
        with exclusive(self.dir / LOCK, lambda: progress(f"waiting for another command in {self.dir}")):
            state = self._plan(State.load(self.dir))
            missing = [name for name in state.ports if not state.living(name)]
            self._check_ports(state, missing)
            if missing and len(missing) < len(state.ports):
                progress(f"not running: {', '.join(missing)}; starting again")
            started: list[Process] = []
            try:
                for name in missing:
                    progress(f"starting {name} on {state.address(name)}")
                    started.append(self._start(name, state, jars))
                self._wait(state, list(state.ports), progress)
            except BaseException:  # an interrupt too must leave nothing behind
                terminate(started, _patience(state))
                if len(started) == len(state.ports):
                    (self.dir / FILE).unlink(missing_ok=True)
                raise
        return state.addresses

    def down(self, wipe: bool = False) -> list[str]:
        """End every process of the stack; with `wipe`, remove its data and logs too. Returns the names of those that ran."""
        if not self.dir.is_dir():
            return []
        with exclusive(self.dir / LOCK, lambda: None):
            state = State.load(self.dir)
            ended = terminate(state.processes.values(), _patience(state)) if state else []
            (self.dir / FILE).unlink(missing_ok=True)
            if wipe:
                self._wipe()
        return ended

    def status(self) -> StackStatus:
        """Ask every service now."""
        state = State.load(self.dir)
        if state is None:
            return StackStatus(str(self.dir), [], None)
        services = []
        for name in state.ports:
            process = state.processes.get(name)
            if process is None or find(process) is None:
                now = "dead"
            else:
                now = "up" if self._answers(name, state) else "silent"
            services.append(ServiceStatus(name, state.address(name), process.pid if process else 0, now, str(self._log(name))))
        return StackStatus(str(self.dir), services, state.addresses)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to one service; after SIGKILL, return when it is gone."""
        process = self._process(name)
        found = find(process)
        if found is None:
            raise Unavailable(f"{name} (pid {process.pid}) does not run")
        found.send_signal(number)
        deadline = time.monotonic() + 10
        while number == signal.SIGKILL and find(process) is not None and time.monotonic() < deadline:
            time.sleep(0.01)

    def pause(self, name: str) -> None:
        """Stop one service without ending it: its connections stay open and nothing answers."""
        self.kill(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a paused service go on."""
        self.kill(name, signal.SIGCONT)

    def restart(self, name: str, progress: Progress = _quiet) -> None:
        """End one service if it still runs, and start it again on the same port and data."""
        process = self._process(name)
        jars = ensure_jars(progress)
        with exclusive(self.dir / LOCK, lambda: progress(f"waiting for another command in {self.dir}")):
            state = self._known()
            terminate([process], PATIENCE_ONE_BROKER)
            self._check_ports(state, [name])
            self._start(name, state, jars)
            self._wait(state, [name], progress)

    def _known(self) -> State:
        state = State.load(self.dir)
        if state is None:
            raise Unavailable(f"no stack was started in {self.dir}; run `ratemill local up`")
        return state

    def _process(self, name: str) -> Process:
        processes = self._known().processes
        if name not in processes:
            raise BadInput(f"no service {name!r} in {self.dir}; there are {', '.join(processes)}")
        return processes[name]

    def _make_dir(self) -> None:
        try:
            self.dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"cannot use {self.dir} for the stack: {error.strerror}; choose another --dir") from error

    def _plan(self, state: State | None) -> State:
        """Which ports to use: those of a stack that lives at least in part, else the requested or free ones."""
        if state is not None and any(state.living(name) for name in state.ports):
            for name, requested in (("kafka", self.kafka_port), ("elasticsearch", self.elasticsearch_port)):
                if requested not in (0, state.ports[name][0]):
                    raise Unavailable(
                        f"the stack in {self.dir} runs with {name} on port {state.ports[name][0]}, not {requested}; run `ratemill local down` first"
                    )
            return state
        brokers = self._broker_names()
        free = free_ports(2 * len(brokers) + 2)
        ports: dict[str, tuple[int, int]] = {}
        for number, name in enumerate(brokers):
            own, internal = free.pop(), free.pop()
            ports[name] = (self.kafka_port + number if self.kafka_port else own, internal)
        own, internal = free
        ports["elasticsearch"] = (self.elasticsearch_port or own, internal)
        return State(ports)

    def _broker_names(self) -> list[str]:
        return ["kafka", *(f"kafka-{number}" for number in range(2, self.kafka_brokers + 1))]

    def _check_ports(self, state: State, names: list[str]) -> None:
        for name in names:
            # The last threads of a killed server can hold its port a moment longer than its pid is seen.
            deadline = time.monotonic() + (RELEASE_TIMEOUT if name in state.processes else 0)
            for port in state.ports[name]:
                while not (free := is_free(port)) and time.monotonic() < deadline:
                    time.sleep(POLL)
                if not free:
                    option = "--elasticsearch-port" if name == "elasticsearch" else "--kafka-port"
                    raise Unavailable(f"port {port} for {name} is taken by another program; end that program, or pass {option} N (0: any free one)")

    def _start(self, name: str, state: State, jars: Jars) -> Process:
        home = self.dir / name
        own, internal = state.ports[name]
        if name == "elasticsearch":
            elasticsearch_home.prepare(home, own, internal, jars)
            command = elasticsearch_home.command(home, jars)
        else:
            node, ports = 1 + state.brokers.index(name), [state.ports[b] for b in state.brokers]
            kafka_server.prepare(home, node, ports, jars.kafka, self.listeners, self.broker_settings)
            command = kafka_server.command(home, jars.kafka)
        process = spawn(name, command, self._log(name), home, self.max_lifetime)
        state.processes[name] = process
        state.save(self.dir)
        return process

    def _log(self, name: str) -> Path:
        return self.dir / "logs" / f"{name}.log"

    def _answers(self, name: str, state: State) -> bool:
        own = state.ports[name][0]
        return elasticsearch_home.answers(own) if name == "elasticsearch" else kafka_server.answers(own, len(state.brokers))

    def _wait(self, state: State, names: list[str], progress: Progress) -> None:
        """Return when all of these answer; raise with the end of the log when one ends or stays silent."""
        pending = list(names)
        begin = time.monotonic()
        while True:
            for name in list(pending):
                if not state.living(name):
                    raise Unavailable(f"{name} ended before it answered; the end of {self._log(name)}:\n{tail(str(self._log(name)))}")
                if self._answers(name, state):
                    pending.remove(name)
                    progress(f"{name} answers after {time.monotonic() - begin:.1f} s")
            if not pending:
                return
            if time.monotonic() - begin > self.ready_timeout:
                name = pending[0]
                raise Unavailable(
                    f"{name} does not answer on {state.address(name)} within {self.ready_timeout:.0f} s; "
                    f"the end of {self._log(name)}:\n{tail(str(self._log(name)))}"
                )
            time.sleep(POLL)

    def _wipe(self) -> None:
        # Only what the stack made: a person may have named a folder that holds other things too.
        for name in ("kafka", "kafka-2", "kafka-3", "elasticsearch", "logs"):
            shutil.rmtree(self.dir / name, ignore_errors=True)
        (self.dir / LOCK).unlink(missing_ok=True)
        try:
            os.rmdir(self.dir)
        except OSError:
            pass  # not empty, or it is somebody's working directory
