"""Usage from metrics: exactly what the samples say, each window once, whatever the server answers and wherever the collector dies.

The server is a fake by Prometheus' "HTTP API": query_range as a form, matrices with values as texts, its error document, its limit of 11,000 points.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from click.testing import CliRunner
from ratemill.cli import collect as collect_command
from ratemill.cli import collect_prometheus
from ratemill.collectors.prometheus.api import Prometheus
from ratemill.collectors.prometheus.meters import Meter, Plan, Point, Series, read_plan, readings
from ratemill.collectors.prometheus.run import Collected, PrometheusCollector, PrometheusState
from ratemill.collectors.sdk.events import Event
from ratemill.schemas.errors import AccessDenied, BadConfig, BadInput, NewerSchema, Unavailable

HOUR = 3_600
T0 = 1_764_000_000 - 1_764_000_000 % 86_400
TOKEN = "canary-token"


class Fake:
    """A Prometheus with these series: labels and samples at any second; what a sample is, is seen for five minutes."""

    def __init__(self) -> None:
        self.series: list[tuple[dict[str, str], list[tuple[int, str]]]] = []
        self.failing: tuple[int, bytes] | None = None
        self.warnings: list[str] = []
        self.asked: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                status, body = outer.answer(self.path, {name: values[0] for name, values in form.items()}, self.headers.get("authorization", ""))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, asked: dict[str, str], authorization: str) -> tuple[int, bytes]:
        self.asked.append(asked)
        if self.failing:
            return self.failing
        if authorization != f"Bearer {TOKEN}":
            return 401, b"Unauthorized"
        if path != "/api/v1/query_range":
            return 404, b"404 page not found"
        start, end, step = (int(asked[name]) for name in ("start", "end", "step"))
        if (end - start) // step > 11_000:
            return 400, said("bad_data", "exceeded maximum resolution of 11,000 points per timeseries")
        if "(" in asked["query"] and ")" not in asked["query"]:
            return 400, said("bad_data", 'invalid parameter "query": 1:4: parse error: unclosed left parenthesis')
        result = []
        for labels, samples in self.series:
            values = []
            for at in range(start, end + 1, step):
                seen = [value for second, value in samples if at - 300 < second <= at]
                values += [[at, seen[-1]]] if seen else []
            if values:
                result.append({"metric": labels, "values": values})
        body: dict[str, Any] = {"status": "success", "data": {"resultType": "matrix", "result": result}}
        if self.warnings:
            body["warnings"] = self.warnings
        return 200, json.dumps(body).encode()


def said(kind: str, error: str) -> bytes:
    return json.dumps({"status": "error", "errorType": kind, "error": error}).encode()


class Disk:
    """What was put, as a spool that outlives the process."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def put_many(self, events: Iterable[Event]) -> None:
        self.events += events

    def counted(self) -> dict[tuple[str, str], Fraction]:
        """As a pipeline counts it: each id once; (account, hour) -> quantity."""
        known: dict[str, bytes] = {}
        found: dict[tuple[str, str], Fraction] = {}
        for event in self.events:
            document = json.loads(event.body)
            if document["id"] in known:
                assert known[document["id"]] == event.body, "one id with two contents"
                continue
            known[document["id"]] = event.body
            name = event.account, document["time"][11:13]
            found[name] = found.get(name, Fraction(0)) + Fraction(document["data"]["quantity"])
        return found


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    yield made
    made.close()


def plan(fake: Fake, tmp_path: Path, **meter: Any) -> Plan:
    (tmp_path / "token").write_text(TOKEN)
    one: dict[str, Any] = {"name": "net", "query": "bytes_total", "sku": "net", "unit": "bytes", "account_label": "tenant"} | meter
    return Plan(url=fake.url, source="prometheus/test", meters=[Meter(**one)], token_file=str(tmp_path / "token"))


def collect(made: Plan, tmp_path: Path, disk: Disk, now: int, since: int | None = T0, **more: Any) -> list[Collected]:
    state = PrometheusState(tmp_path / "windows.db")
    told: list[Collected] = []
    try:
        PrometheusCollector(made, Prometheus(made), state, disk, lambda: now, since).run(told.append, **more)
    finally:
        state.close()
    return told


def counter(rate: int, start: int, end: int, begin: str = "0", every: int = 15, lag: int = 7) -> list[tuple[int, str]]:
    """Samples off the grid, of a counter that counts `rate` each scrape."""
    return [(start + lag + n * every, str(int(begin) + n * rate)) for n in range((end - start) // every)]


def test_windows_add_up_to_what_the_counter_counted(fake: Fake, tmp_path: Path) -> None:
    samples = counter(3, T0 - 600, T0 + 3 * HOUR + 600)
    fake.series = [({"__name__": "bytes_total", "tenant": "acme", "instance": str(n)}, samples) for n in (1, 2)]
    disk, made = Disk(), plan(fake, tmp_path)
    for now in (T0 + HOUR + 299, T0 + HOUR + 300, T0 + 3 * HOUR + 300):
        collect(made, tmp_path, disk, now)
    value = lambda at: Fraction([text for second, text in samples if second <= at][-1])  # noqa: E731
    counted = disk.counted()
    assert [counted["acme", f"{hour:02}"] for hour in range(3)] == [2 * (value(T0 + (h + 1) * HOUR) - value(T0 + h * HOUR)) for h in range(3)]
    assert len(disk.events) == 6
    assert [asked["start"] for asked in fake.asked] == [str(T0), str(T0 + HOUR), str(T0 + 2 * HOUR)], "each window once, and none before it is over"


def test_killed_at_any_step_it_counts_once(fake: Fake, tmp_path: Path) -> None:
    fake.series = [({"tenant": "acme"}, counter(3, T0 - 600, T0 + 3 * HOUR + 600))]
    whole, made = Disk(), plan(fake, tmp_path)
    collect(made, tmp_path / "whole", whole, T0 + 3 * HOUR + 300)
    for place in ("read", "put", "done"):
        disk, here = Disk(), tmp_path / place
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                collect(made, here, disk, T0 + 3 * HOUR + 300, step=interrupt_at(place))
        collect(made, here, disk, T0 + 3 * HOUR + 300)
        assert disk.counted() == whole.counted()


@pytest.mark.parametrize("place", ["read", "put", "done"])
def test_killed_before_late_samples_came_nothing_is_lost_and_no_word_is_taken_back(fake: Fake, tmp_path: Path, place: str) -> None:
    """What was read first stands, and the next window goes on from there."""
    samples = counter(3, T0 - 600, T0 + 2 * HOUR + 600)
    late = [(at, value) for at, value in samples if not T0 + HOUR - 60 < at <= T0 + HOUR]
    disk, made = Disk(), plan(fake, tmp_path)
    fake.series = [({"tenant": "acme"}, late)]
    with pytest.raises(KeyboardInterrupt):
        collect(made, tmp_path, disk, T0 + HOUR + 300, step=interrupt_at(place))
    fake.series = [({"tenant": "acme"}, samples)]
    collect(made, tmp_path, disk, T0 + 2 * HOUR + 300)

    def value(at: int) -> int:
        return max(int(value) for second, value in samples if second <= at)

    assert sum(disk.counted().values()) == value(T0 + 2 * HOUR) - value(T0)


def test_what_a_full_spool_refused_is_put_by_the_next_run(fake: Fake, tmp_path: Path) -> None:
    class Full(Disk):
        full = True

        def put_many(self, events: Iterable[Event]) -> None:
            if self.full:
                raise Unavailable("full")
            super().put_many(events)

    fake.series = [({"tenant": "acme"}, counter(3, T0 - 600, T0 + HOUR + 600))]
    disk, made = Full(), plan(fake, tmp_path)
    with pytest.raises(Unavailable, match="full"):
        collect(made, tmp_path, disk, T0 + HOUR + 300)
    disk.full = False
    assert collect(made, tmp_path, disk, T0 + HOUR + 300) == []
    assert len(disk.events) == 1


def interrupt_at(place: str) -> Callable[[str], None]:
    def step(reached: str) -> None:
        if reached == place:
            raise KeyboardInterrupt

    return step


def series(*values: tuple[int, str]) -> list[Series]:
    return [Series({"tenant": "acme"}, [Point(second, value) for second, value in values])]


METER = Meter(name="m", query="q", sku="s", unit="u", account="acme")
GAUGE = Meter(name="m", query="q", sku="s", unit="GB-seconds", account="acme", kind="gauge")


def quantities(meter: Meter, made: list[Series], last: str = "", first_ever: bool = False) -> tuple[Decimal | None, Decimal | None, int]:
    known = {made[0].key: Decimal(last)} if last else {}
    (reading,) = readings(meter, made, 0, 240, 60, known, first_ever)
    return reading.quantity, reading.last, reading.resets


def test_steps_up_are_counted_and_a_fall_is_a_new_beginning() -> None:
    assert quantities(METER, series((0, "5"), (60, "7"), (120, "3"), (180, "4"), (240, "4"))) == (Decimal(6), Decimal(4), 1)
    assert quantities(METER, series((60, "0.1"), (120, "0.30")), last="0.1") == (Decimal("0.2"), Decimal("0.3"), 0)
    assert quantities(METER, series((180, "9")), last="2") == (Decimal(7), Decimal(9), 0), "a gap loses nothing"
    assert quantities(METER, series((120, "2")), last="9") == (Decimal(2), Decimal(2), 1), "nor does a restart in a gap, but what came before it"
    assert quantities(METER, series((60, "9"), (120, "12"))) == (Decimal(3), Decimal(12), 0), "what it counted before it was seen is not billed"
    assert quantities(Meter(**{**as_dict(METER), "from_zero": True}), series((60, "9"), (120, "12"))) == (Decimal(12), Decimal(12), 0)
    assert quantities(Meter(**{**as_dict(METER), "from_zero": True}), series((60, "9"), (120, "12")), first_ever=True)[0] == 3
    assert quantities(METER, series(), last="9") == (None, Decimal(9), 0)
    assert quantities(METER, series((0, "1"), (60, "NaN"), (120, "1.5e+03"))) == (Decimal(1499), Decimal(1500), 0)
    with pytest.raises(BadInput, match="no amount"):
        quantities(METER, series((0, "+Inf")))


def as_dict(meter: Meter) -> dict[str, Any]:
    return {name: getattr(meter, name) for name in meter.__struct_fields__}


def test_a_gauge_counts_value_times_seconds_without_the_next_windows_first_sample() -> None:
    assert quantities(GAUGE, series((0, "0.5"), (60, "0.5"), (180, "2"), (240, "9"))) == (Decimal("180.0"), None, 0)


def test_gaps_and_resets_are_told(fake: Fake, tmp_path: Path) -> None:
    samples = counter(3, T0 - 600, T0 + 1_200) + counter(3, T0 + 2_400, T0 + HOUR + 600)
    fake.series = [({"tenant": "acme"}, samples)]
    (told,) = collect(plan(fake, tmp_path), tmp_path, Disk(), T0 + HOUR + 300)
    assert (told.window.series, told.window.expected, told.window.resets) == (1, 60, 1)
    assert 40 < told.window.samples < 50, "twenty minutes are missing, of which five are looked back over"
    state = PrometheusState(tmp_path / "windows.db")
    assert state.windows("net", T0) == [told.window]
    assert state.meters() == [("net", T0, T0 + HOUR)]
    state.db.execute("PRAGMA user_version = 9")
    state.close()
    with pytest.raises(NewerSchema):
        PrometheusState(tmp_path / "windows.db")


def test_samples_of_a_gauge_are_those_that_count(fake: Fake, tmp_path: Path) -> None:
    """The sample at the end of a window is the next one's: one that is missing at its beginning is missing."""
    fake.series = [({"tenant": "acme"}, [(T0 + at, "1") for at in range(60, HOUR + 60, 60)])]
    (told,) = collect(plan(fake, tmp_path, kind="gauge"), tmp_path, Disk(), T0 + HOUR + 300)
    assert (told.window.samples, told.window.expected) == (59, 60)


def test_a_failed_write_does_not_keep_the_next_one_from_being_tried(fake: Fake, tmp_path: Path) -> None:
    fake.series = [({"tenant": "acme"}, counter(3, T0 - 600, T0 + HOUR + 600))]
    made, disk, now = plan(fake, tmp_path), Disk(), T0 + HOUR + 300
    state = PrometheusState(tmp_path / "windows.db")
    state.db.execute("CREATE TRIGGER broken BEFORE INSERT ON windows BEGIN SELECT RAISE(ABORT, 'no'); END")
    collector = PrometheusCollector(made, Prometheus(made), state, disk, lambda: now, T0)
    with pytest.raises(Unavailable):
        collector.run()
    state.db.execute("DROP TRIGGER broken")
    assert collector.run() == 1
    state.close()


def test_hours_that_were_not_looked_at_are_told(fake: Fake, tmp_path: Path) -> None:
    """Every window that was read may be whole, and the collector dead for two days."""
    fake.series = [({"tenant": "acme"}, counter(3, T0 - 600, T0 + 2 * HOUR + 600))]
    collect(plan(fake, tmp_path), tmp_path, Disk(), T0 + 2 * HOUR + 300)
    for hours in (2, 50):
        (one,) = collect_prometheus.summary(tmp_path / "windows.db", T0 + hours * HOUR + 600)
        assert (one["hours_seen"], one["hours_expected"]) == (2, hours)
        assert f"2 of {hours} hours seen" in collect_prometheus.summary_text(one)
    fake.series = []
    collect(plan(fake, tmp_path), tmp_path, Disk(), T0 + 4 * HOUR + 300)
    (one,) = collect_prometheus.summary(tmp_path / "windows.db", T0 + 4 * HOUR + 600)
    assert (one["hours_seen"], one["hours_expected"]) == (2, 4), "a window without series is no hour that was seen"


def test_status_is_told_beside_a_collector_that_writes(fake: Fake, tmp_path: Path) -> None:
    fake.series = [({"tenant": "acme"}, counter(3, T0 - 600, T0 + HOUR + 600))]
    collect(plan(fake, tmp_path), tmp_path, Disk(), T0 + HOUR + 300)
    state = PrometheusState(tmp_path / "windows.db")
    state.db.execute("BEGIN IMMEDIATE")
    assert len(collect_prometheus.summary(tmp_path / "windows.db", T0 + HOUR)) == 1
    state.close()


REFUSALS: dict[str, tuple[Any, type[Exception], str]] = {
    "a query that is none": ((400, said("bad_data", "parse error")), BadInput, "bad_data: parse error"),
    "a query that fails": ((422, said("execution", "many-to-many matching")), BadInput, "many-to-many"),
    "a time-out": ((503, said("timeout", "query timed out")), Unavailable, "503 timeout: query timed out"),
    "no token": ((403, b"<html>no</html>"), AccessDenied, "token_file"),
    "a proxy": ((200, b"<html>"), Unavailable, "none of Prometheus"),
    "another answer": ((200, b"[]"), Unavailable, "none of Prometheus"),
    "a vector": ((200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}}).encode()), Unavailable, "no matrix"),
}


@pytest.mark.parametrize("how", REFUSALS)
def test_what_the_server_refuses_is_said_and_the_window_is_read_again(fake: Fake, tmp_path: Path, how: str) -> None:
    fake.series = [({"tenant": "acme"}, counter(3, T0 - 600, T0 + HOUR + 600))]
    disk, made = Disk(), plan(fake, tmp_path)
    failing, error, text = REFUSALS[how]
    fake.failing = failing
    with pytest.raises(error, match=text) as raised:
        collect(made, tmp_path, disk, T0 + HOUR + 300)
    assert TOKEN not in str(raised.value)
    assert disk.events == []
    fake.failing = None
    assert len(collect(made, tmp_path, disk, T0 + HOUR + 300)) == 1


def test_half_an_answer_is_no_answer_and_a_series_without_account_stops_its_window(fake: Fake, tmp_path: Path) -> None:
    fake.series = [({"tenant": "acme"}, counter(3, T0 - 600, T0 + HOUR + 600)), ({"job": "x"}, counter(1, T0, T0 + HOUR))]
    disk, made = Disk(), plan(fake, tmp_path)
    with pytest.raises(BadInput, match="no label 'tenant'"):
        collect(made, tmp_path, disk, T0 + HOUR + 300)
    fake.series.pop()
    fake.warnings = ["store 3 did not answer"]
    with pytest.raises(Unavailable, match="store 3"):
        collect(made, tmp_path, disk, T0 + HOUR + 300)
    assert disk.events == []
    with pytest.raises(BadInput, match="in the future"):
        collect(made, tmp_path, disk, T0 - 1)
    with pytest.raises(BadInput, match="give the address"):
        Prometheus(Plan(url="prometheus:9090", source="s", meters=[METER]))


def test_one_meter_does_not_hold_up_the_others(fake: Fake, tmp_path: Path) -> None:
    fake.series = [({"tenant": "acme"}, counter(3, T0 - 600, T0 + HOUR + 600))]
    disk, made = Disk(), plan(fake, tmp_path)
    broken = Meter(name="broken", query="bytes_total", sku="net", unit="bytes", account_label="nobody")
    made = Plan(url=made.url, source=made.source, meters=[broken, *made.meters], token_file=made.token_file)
    with pytest.raises(BadInput, match="meter broken"):
        collect(made, tmp_path, disk, T0 + HOUR + 300)
    assert len(disk.events) == 1


def test_old_windows_are_a_backfill(fake: Fake, tmp_path: Path) -> None:
    fake.series = [({"tenant": "acme"}, counter(3, T0 - 600, T0 + HOUR + 600))]
    disk, made = Disk(), msgspec.structs.replace(plan(fake, tmp_path), window_s=86_400, step_s=HOUR)
    collect(made, tmp_path, disk, T0 + 40 * 86_400)
    assert {event.backfill for event in disk.events} == {"prometheus"}


PLAN = """
url = "http://127.0.0.1:9090"
source = "prometheus/prod"
[[meters]]
name = "net"
query = 'bytes_total{device="eth0"}'
account_label = "tenant"
sku = "net"
unit = "bytes"
"""


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("bytes_total{device", "sum(bytes_total{device", "without functions"), ('sku = "net"', 'sku = ""', "the sku is empty"),
        ('account_label = "tenant"', "", "account_label"), ('source = "', 'step_s = 7\nsource = "', "must divide"),
        ('source = "', 'window_s = 86400\nstep_s = 1\nsource = "', "11,000"), ("[[meters]]", "[[meters]]\nnme = 1", "nme"), ("url", "urls", "urls"),
    ],
)  # fmt: skip
def test_a_plan_with_a_mistake_is_refused(tmp_path: Path, old: str, new: str, error: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    assert read_plan(str(path)).meters[0].sku == "net"
    path.write_text(PLAN.replace(old, new, 1))
    with pytest.raises(BadInput, match=error):
        read_plan(str(path))
    with pytest.raises(BadInput):
        read_plan(str(tmp_path / "none.toml"))
    assert issubclass(BadConfig, BadInput)


def test_the_command_says_what_waits_when_there_is_no_kafka(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events are in the spool: the window is read, and not lost."""
    monkeypatch.setattr(collect_prometheus, "_FLUSH_S", 0.2)
    (tmp_path / "key").write_text("rm_x")
    (tmp_path / "token").write_text(TOKEN)
    now = int(time.time())
    fake.series = [({"tenant": "acme"}, counter(3, now - 3 * HOUR, now))]
    plan_file = tmp_path / "plan.toml"
    plan_file.write_text(PLAN.replace("http://127.0.0.1:9090", fake.url).replace("[[meters]]", f"token_file = '{tmp_path}/token'\n[[meters]]"))
    monkeypatch.chdir(tmp_path)
    arguments = ["--plan", str(plan_file), "--api", "http://127.0.0.1:9", "--key-file", str(tmp_path / "key"), "--state", str(tmp_path / "s")]
    done = CliRunner().invoke(collect_prometheus.command, arguments)
    assert "1 series, 1 events" in done.output
    assert isinstance(done.exception, Unavailable)
    assert "events wait in" in str(done.exception)
    assert (tmp_path / "s" / "spool.db").stat().st_size
    told = CliRunner().invoke(collect_command.command, ["status", "--state", str(tmp_path), "--json"])
    (meter,) = json.loads(told.output)["metrics"]
    assert (meter["meter"], meter["windows"], meter["samples_expected"], meter["samples_seen"]) == ("net", 1, 60, 60)
    assert "60 of 60" in CliRunner().invoke(collect_command.command, ["status", "--state", str(tmp_path)]).output
    assert "nothing was collected" in CliRunner().invoke(collect_command.command, ["status", "--state", str(tmp_path / "none")]).output


def test_with_an_api_it_says_that_it_lives_also_without_usage(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour without usage would otherwise look like one in which the collector was dead."""
    lived: list[str] = []
    monkeypatch.setattr(collect_prometheus.HttpTarget, "heartbeat", lambda _, source: lived.append(source))
    (tmp_path / "key").write_text("rm_x")
    (tmp_path / "token").write_text(TOKEN)
    text = PLAN.replace("http://127.0.0.1:9090", fake.url).replace("[[meters]]", f"token_file = '{tmp_path}/token'\n[[meters]]")
    (tmp_path / "plan.toml").write_text(text)
    arguments = ["--plan", "plan.toml", "--api", "http://127.0.0.1:9", "--key-file", "key", "--state", "s"]
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(collect_prometheus.command, arguments).exit_code == 0
    assert lived == ["prometheus/prod"]
    fake.failing = (503, b"")
    (tmp_path / "s" / "windows.db").unlink()
    assert CliRunner().invoke(collect_prometheus.command, arguments).exception is not None
    assert len(lived) == 1, "who could not look does not know that there was no usage"
