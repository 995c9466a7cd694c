"""A short run over every target, what fuzzing found before, and broken readers that it must catch. The long run: `make fuzz`."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fuzzing import run
from fuzzing.run import TARGETS, attempt, in_processes, made
from fuzzing.targets import examples
from ratemill.api import intake
from ratemill.schemas.decoders import FORMATS
from ratemill.schemas.errors import Reason, Rejection
from ratemill.schemas.limits import DEFAULT_LIMITS
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.core.state import Added, PartitionState
from ratemill.streams.lanes import decoding

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
INPUTS = 20_000


def test_every_reader_takes_whatever_comes() -> None:
    failures = in_processes(tuple(TARGETS), INPUTS, "tests", 2)
    assert [(failure.target, failure.number, failure.said, failure.where) for failure in failures] == []


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_what_was_found_stays_mended(path: Path) -> None:
    failure = attempt(TARGETS[path.name.split("--")[0]], path.read_bytes())
    assert failure is None, failure.said


def test_every_decoder_is_a_target_and_has_examples_that_it_accepts() -> None:
    assert {f"format-{name}" for name in FORMATS} <= set(TARGETS)
    for name, texts in examples().items():
        assert any(isinstance(entry, UsageEvent) for text in texts for entry in FORMATS[name](text.encode(), (), DEFAULT_LIMITS)), name


def test_inputs_depend_on_the_seed_and_their_number_alone() -> None:
    for target in TARGETS.values():
        assert made(target, "s", 5) == made(target, "s", 5)
    some = TARGETS["format-cloudevents"]
    assert made(some, "s", 5) != made(some, "s", 6)
    assert made(some, "s", 5) != made(some, "t", 5)


# -- negative controls -------------------------------------------------------------------------------------------------------------


def found(name: str, inputs: int = 400, seconds: float = 5.0) -> list[str]:
    return [failure.said for failure in run.run({name: TARGETS[name]}, inputs, "broken", seconds=seconds)]


def with_decoder(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[list[Any]], list[Any]]) -> None:
    decoder = FORMATS[name]
    monkeypatch.setitem(FORMATS, name, lambda value, headers, limits: change(decoder(value, headers, limits)))


def test_an_event_that_is_counted_and_dead_lettered_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    decode_batch = decoding.decode_batch

    def both(*args: Any) -> decoding.Decoded:
        decoded = decode_batch(*args)
        more = [decoded.letter(0, Rejection(Reason.CONFLICT, "and yet it counts"))] if decoded.events else []
        return decoded._replace(dead=decoded.dead + more)

    monkeypatch.setattr(decoding, "decode_batch", both)
    assert any("both accepted and a dead letter" in said for said in found("format-aws-cur"))


def test_an_http_request_that_is_acknowledged_in_part_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    records = intake._records
    monkeypatch.setattr(intake, "_records", lambda accepted, limits: records(accepted, limits)[1:])
    assert any("accepted is not what the records hold" in said for said in found("http-events"))


def test_a_token_that_lets_other_accounts_through_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    init = intake._Judged.__init__
    monkeypatch.setattr(intake._Judged, "__init__", lambda self, account, limits, now_ns: init(self, None, limits, now_ns))
    assert any("lets the usage of another one through" in said for said in found("http-events", 1_500))


def test_an_event_that_is_out_of_time_and_accepted_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "check_time", lambda *args: None)
    assert any("out of time" in said for said in found("http-events"))


def test_an_event_of_a_batch_that_is_dropped_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    with_decoder(monkeypatch, "usage-record", lambda entries: entries[:-1] if len(entries) > 1 else entries)
    assert any("events in the record, and" in said for said in found("format-usage-record"))


def test_an_event_that_is_made_of_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    with_decoder(monkeypatch, "aws-cloudwatch", lambda entries: [*entries, Rejection(Reason.BAD_FIELD, "there never was one")])
    assert any("events in the record, and" in said for said in found("format-aws-cloudwatch"))


@pytest.mark.parametrize("quantity", ["NaN", "Infinity", "1E+61", "1E-61"])
def test_a_quantity_beyond_the_bounds_is_caught(monkeypatch: pytest.MonkeyPatch, quantity: str) -> None:
    def change(entries: list[Any]) -> list[Any]:
        return [msgspec.structs.replace(e, quantity=Decimal(quantity)) if isinstance(e, UsageEvent) else e for e in entries]

    with_decoder(monkeypatch, "gcp-billing", change)
    assert any(said.startswith("Broken: accepted: ") for said in found("format-gcp-billing", 100))


def test_a_text_with_control_characters_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    with_decoder(monkeypatch, "azure-cost", lambda es: [msgspec.structs.replace(e, sku="a\0b") if isinstance(e, UsageEvent) else e for e in es])
    assert any("control characters" in said for said in found("format-azure-cost", 100))


def test_an_event_that_counts_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(self: PartitionState, events: list[UsageEvent]) -> Added:
        return Added(len(events), 0, [], [])

    monkeypatch.setattr(PartitionState, "add", add)
    assert any("counted again" in said for said in found("format-aws-eventbridge"))


def test_an_undeclared_exception_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    with_decoder(monkeypatch, "gcp-monitoring", lambda entries: entries[7:8] or [entries[0].quantity])
    assert any(said.startswith("AttributeError") for said in found("format-gcp-monitoring", 100))


def test_an_input_that_hangs_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def forever(entries: list[Any]) -> list[Any]:
        while True:
            try:
                sum(range(1_000))
            except Exception:
                continue  # what a careless reader does

    with_decoder(monkeypatch, "aws-cur", forever)
    assert [failure.where for failure in run.run({"format-aws-cur": TARGETS["format-aws-cur"]}, 1, "broken", seconds=0.2)] == ["hang"]


@pytest.mark.parametrize("name", run.BROKEN)
def test_a_process_that_is_lost_is_a_failure_of_its_input(name: str) -> None:
    failures = in_processes([name], 3, "s", 1, stuck_s=1.0)
    assert [(failure.target, failure.number) for failure in failures] == [(name, 0)]
    assert failures[0].data == made(run.BROKEN[name], "s", 0)


def test_a_failure_is_reproduced_by_the_line_it_prints(tmp_path: Path) -> None:
    failure = run.Failure("tariff", 3, "x.py:1", "said", random.Random(1).randbytes(20))
    line = run.save(failure, tmp_path, "s")
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "tariff: everything holds\n")  # it is a price book that is refused as it should be
    assert (tmp_path / "tariff--seed-s-3").read_bytes() == failure.data
