"""`close`, `amend`, `cancel`, `backfill`, `rerate` and `control` without Kafka: what they refuse, what they show, what they make."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from ratemill.cli.amend import changed_event, checked, known_from, show
from ratemill.cli.backfill import backfills
from ratemill.cli.close import closed_before, month_to_close
from ratemill.cli.control import listing, outcome, request_of
from ratemill.cli.corrections import description, moment, outcome_lines, request_json
from ratemill.cli.main import cli, main
from ratemill.schemas.control import (
    Amend,
    BackfillClose,
    BackfillOpen,
    BackfillRevert,
    Close,
    ControlRecord,
    Origin,
    Receipt,
    Rerate,
    encode_control,
    month_number,
)
from ratemill.schemas.errors import BadInput
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.config import Config
from ratemill.streams.control_topic import Controls
from rich.console import Console

NS = 10**9
JULY_10 = datetime(2026, 7, 10, tzinfo=UTC)
AT = int(JULY_10.timestamp()) * NS
EVENT = UsageEvent("acct", "src", "e-1", "k", AT - 86_400 * NS, Decimal("5.0"), "GB", region="eu", dimensions='{"plan":"gold","zone":"a"}')
PLACE = Origin("usage.raw.aws", 3, 42, 1)
CONFIG = Config()


def who(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": uuid.UUID(int=number << 96).hex, "author": "Ada", "reason": "because", "at_ns": AT, **fields}


def receipt(number: int, partition: int, outcome: str = "done", applied: bool = True, **counts: int) -> Receipt:
    return Receipt(
        control_id=who(number)["id"], partition=partition, outcome=outcome, next_offsets={"usage.events": 7}, book="d", closed_through=0,
        revision=3, at_ns=AT, counts=counts, applied=applied,
    )  # fmt: skip


def controls_of(*records: ControlRecord) -> Controls:
    controls = Controls(CONFIG)
    for offset, record in enumerate(records):
        controls.take(offset, encode_control(record))
    return controls


def amended(number: int, quantity: str | None) -> Amend:
    new = None if quantity is None else changed_event(EVENT, checked(quantity, None), [])
    return Amend(**who(number), original=EVENT, origin=PLACE, replacement=new)


# -- close ---------------------------------------------------------------------------------------------------------------


def test_only_a_month_that_has_ended_is_closed() -> None:
    assert month_to_close("2026-06", JULY_10, False) == month_number("2026-06")
    assert month_to_close("2026-07", JULY_10, True) == month_number("2026-07")
    for period, early, why in [("2026-07", False, "has not ended"), ("2026-08", True, "has not begun"), ("2026-6", False, "is no month")]:
        with pytest.raises(BadInput, match=why):
            month_to_close(period, JULY_10, early)


def test_a_close_holds_for_earlier_months_too_unless_it_was_refused() -> None:
    june = Close(**who(1), period="2026-06")
    assert closed_before(controls_of(june), month_number("2026-05")) == june
    assert closed_before(controls_of(june), month_number("2026-07")) is None
    assert closed_before(controls_of(june, receipt(1, 0)), month_number("2026-06")) == june
    assert closed_before(controls_of(june, receipt(1, 0, "no", applied=False)), month_number("2026-06")) is None


# -- amend and cancel ----------------------------------------------------------------------------------------------------


def test_an_amended_event_is_known_as_it_is_now() -> None:
    assert known_from(controls_of(), "acct", "src", "e-1") is None
    log: list[ControlRecord] = [amended(1, "4"), amended(2, None), amended(3, "2")]
    for upto, now in ((1, "4"), (2, None), (3, "2")):
        known = known_from(controls_of(*log[:upto]), "acct", "src", "e-1")
        assert known is not None
        assert (known.original, known.origin) == (EVENT, PLACE)
        assert (known.now and str(known.now.quantity)) == now
    assert known_from(controls_of(*log), "acct", "src", "e-2") is None
    assert known_from(controls_of(*log), "acct", "src2", "e-1") is None


def test_an_amendment_that_was_refused_changed_nothing() -> None:
    known = known_from(controls_of(amended(1, "4"), amended(2, None), receipt(2, 0, "no", applied=False)), "acct", "src", "e-1")
    assert known is not None
    assert known.now is not None
    assert str(known.now.quantity) == "4"


def test_what_is_not_named_stays() -> None:
    new = changed_event(EVENT, {"region": "", "unit": "MB"} | checked("1E3", "2026-07-01T01:00:00+01:00"), ["plan=silver", "zone=", "new=a=b"])
    assert (new.region, new.unit, str(new.quantity), new.time) == ("", "MB", "1E+3", int(datetime(2026, 7, 1, tzinfo=UTC).timestamp()) * NS)
    assert new.dimensions == '{"new":"a=b","plan":"silver"}'
    assert (new.account, new.source, new.id, new.sku) == (EVENT.account, EVENT.source, EVENT.id, EVENT.sku)
    assert changed_event(EVENT, {}, ["plan=", "zone="]).dimensions == ""
    old = changed_event(EVENT, {"time": 946_684_800 * NS}, [])  # of any age
    assert old.time == 946_684_800 * NS


@pytest.mark.parametrize("dimension", ["plan", "=x", "", "other="])
def test_a_wrong_dimension_is_refused(dimension: str) -> None:
    with pytest.raises(BadInput, match="--dimension"):
        changed_event(EVENT, {}, [dimension])


@pytest.mark.parametrize(("quantity", "time"), [("1,5", None), ("NaN", None), ("1e999999", None), (None, "2026-07-01T00:00:00"), (None, "yesterday")])
def test_a_wrong_quantity_or_time_is_refused(quantity: str | None, time: str | None) -> None:
    with pytest.raises(BadInput, match=r"--quantity|--time"):
        checked(quantity, time)


@pytest.mark.parametrize("time", ["1999-12-31", "2099-01-01"])
def test_a_time_that_no_event_may_have_is_refused(time: str) -> None:
    with pytest.raises(BadInput, match="--time"):
        changed_event(EVENT, checked(None, time), [])


def shown(number: int, quantity: str | None, width: int = 100) -> str:
    known = known_from(controls_of(amended(1, "4")), "acct", "src", "e-1")
    assert known is not None
    output = io.StringIO()
    show(known, amended(number, quantity).replacement, Console(file=output, width=width))
    return output.getvalue()


def test_the_event_is_shown_as_it_came_as_it_is_and_as_it_will_be() -> None:
    text = shown(2, "3")
    assert "event e-1 of acct from src, published as usage.raw.aws/3/42/1" in text
    assert "amended by Ada on 2026-07-10 00:00 UTC: because" in text
    (row,) = [line.split() for line in text.splitlines() if line.startswith("quantity")]
    assert row == ["quantity", "5", "4", "3"]
    assert "changes: quantity 4 → 3" in text
    assert "then it counts no longer" in shown(2, None)


def test_hostile_fields_do_not_reach_the_terminal() -> None:
    hostile = Amend(**who(1, reason="[red]x[/red]"), original=EVENT, origin=PLACE, replacement=None)
    text = "\n".join([description(hostile), *outcome_lines({0: receipt(1, 0, "\x1b[31m")}, [0])])
    assert "\x1b" not in text
    output = io.StringIO()
    Console(file=output, width=120).print(listing(controls_of(hostile), CONFIG, [hostile]))
    assert "[red]x[/red]" in output.getvalue()


# -- backfills -----------------------------------------------------------------------------------------------------------


def test_the_state_of_a_backfill() -> None:
    opened = BackfillOpen(**who(1), name="b", from_ns=0, to_ns=1)
    closed, reverted = BackfillClose(**who(2), name="b"), BackfillRevert(**who(3), name="b")
    stray = BackfillClose(**who(4), name="other")
    assert {name: each.state for name, each in backfills(controls_of(opened, stray)).items()} == {"b": "open"}
    assert backfills(controls_of(opened, closed))["b"].state == "closed"
    assert backfills(controls_of(opened, closed, BackfillOpen(**who(5), name="b", from_ns=0, to_ns=9)))["b"].state == "open"
    assert backfills(controls_of(opened, closed, reverted))["b"].state == "reverted"
    assert backfills(controls_of(opened, receipt(1, 0, "no", applied=False))) == {}


@pytest.mark.parametrize("what", ["close", "revert"])
def test_a_backfill_that_was_never_opened_is_told_with_what_to_do(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def controls(config: Config) -> Controls:
        return controls_of(BackfillOpen(**who(1), name="other", from_ns=0, to_ns=1))

    monkeypatch.setattr("ratemill.cli.backfill.load_controls", controls)
    with pytest.raises(BadInput, match=r"^no backfill 'typo' was opened; .*if events were published under the name all the same, open it first$"):
        cli.main(["backfill", what, "typo", "--author", "ada", "--reason", "x", "--yes"], standalone_mode=False)


def test_times_are_days_or_times_with_a_zone() -> None:
    assert moment("2026-07-10", "--from") == AT
    assert moment("2026-07-10T02:00:00+02:00", "--from") == AT
    for wrong in ("2026-07-32", "2026-07-10T00:00:00", "july", ""):
        with pytest.raises(BadInput, match="--from: "):
            moment(wrong, "--from")


# -- what came of it -----------------------------------------------------------------------------------------------------


def test_partitions_that_answered_alike_are_one_line_with_their_counts_added_up() -> None:
    alike = {number: receipt(1, number, "closed through 2026-06", line_items=600 + number, groups=1) for number in range(4)}
    assert outcome_lines(alike, range(4)) == ["all 4 partitions: closed through 2026-06 (2,406 line items, 4 groups)"]
    mixed = {0: receipt(1, 0), 1: receipt(1, 1), 3: receipt(1, 3), 4: receipt(1, 4, "not counted", applied=False)}
    assert outcome_lines(mixed, range(8)) == [
        "partitions 0-1, 3: done", "partition 4: refused: not counted", "partitions 2, 5-7: no answer yet",
    ]  # fmt: skip
    assert outcome_lines({2: receipt(1, 2, line_items=1, events=2)}, [2]) == ["partition 2: done (1 line item, 2 events)"]


def test_requests_in_words() -> None:
    assert [description(request) for request in (
        Close(**who(1), period="2026-06"), amended(2, "4"), amended(3, None), amended(4, "5"), BackfillOpen(**who(5), name="b", from_ns=0, to_ns=NS),
        BackfillClose(**who(6), name="b"), BackfillRevert(**who(7), name="b"), Rerate(**who(8)), Rerate(**who(9), account="a", period="2026-06"),
    )] == [
        "close 2026-06 and before", "amend e-1 of acct from src: quantity 5 → 4", "cancel e-1 of acct from src",
        "amend e-1 of acct from src: as it was",
        "open backfill b: 1970-01-01T00:00:00Z to 1970-01-01T00:00:01Z", "close backfill b", "revert backfill b", "rerate everything",
        "rerate account a, period 2026-06",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_list_fits_the_terminal_and_cuts_nothing(width: int) -> None:
    long = Rerate(**who(7, reason="word " * 30), account="a" * 70)
    controls = controls_of(Close(**who(1), period="2026-06"), receipt(1, 0), long)
    output = io.StringIO()
    Console(file=output, width=width).print(listing(controls, CONFIG, [request for _, request in controls.requests]))
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.count("a") for line in lines) >= 70
    assert sum(line.count("word") for line in lines) + sum(line.rstrip().endswith("wo") for line in lines) >= 25
    assert outcome(controls, CONFIG, long) == "waits for a worker"


def test_a_request_is_found_by_the_first_digits_of_its_id() -> None:
    controls = controls_of(Close(**who(0x12345678), period="2026-06"), Rerate(**who(0x12346789)))
    assert request_of(controls, "123456") == controls.requests[0][1]
    assert request_of(controls, f"control:{who(0x12346789)['id']}") == controls.requests[1][1]
    for text, why in (("1234", "2 have an id"), ("ffff", "no request has"), ("123", "at least 4 digits"), ("\x1b[31m", "no request has")):
        with pytest.raises(BadInput, match=why) as refused:
            request_of(controls, text)
        assert "\x1b" not in str(refused.value)


def test_as_json() -> None:
    said = json.loads(json.dumps(request_json(amended(1, None), {2: receipt(1, 2, line_items=3)}, [2])))
    assert (said["request"], said["reason"], said["at"], said["origin"]) == ("amend", "because", "2026-07-10T00:00:00Z", "usage.raw.aws/3/42/1")
    assert said["original"]["quantity"] == "5"
    assert said["original"]["dimensions"] == {"plan": "gold", "zone": "a"}
    assert said["replacement"] is None
    assert (said["receipts"][0]["counts"], said["waiting"]) == ({"line_items": 3}, [])
    assert request_json(Close(**who(1), period="2026-06"), {}, range(2))["waiting"] == [0, 1]


def test_the_page_names_every_command_and_no_other() -> None:
    page = (Path(__file__).parents[3] / "docs" / "corrections.md").read_text(encoding="utf-8")
    named = set(re.findall(r"ratemill (?=[a-z])([a-z-]+(?: (?:open|close|revert|list|show|wait)(?= ))?)", page))
    named -= {"publish", "explain", "doctor", "costs"}
    assert {each.split()[0] for each in named} - {"dead-letters"} == {"close", "cancel", "amend", "backfill", "rerate", "control"}
    for each in named:
        group, _, sub = each.partition(" ")
        found = cli.get_command(click.Context(cli), group)
        assert found is not None
        assert not sub or sub in getattr(found, "commands", {})


# -- the commands as they are typed --------------------------------------------------------------------------------------

NAMED = ("--account", "a", "--source", "s", "--id", "e")
WRONG: list[tuple[str, ...]] = [
    ("close", "2026-05"),  # no reason
    ("close", "2026-05", "--reason", " "),
    ("close", "2026-05", "--reason", "r", "--author", ""),
    ("close", "05/2026", "--reason", "r"),
    ("close", "2199-01", "--reason", "r", "--early"),
    ("amend", *NAMED, "--reason", "r"),  # nothing changes
    ("amend", *NAMED, "--reason", "r", "--quantity", "one"),
    ("amend", *NAMED, "--reason", "r", "--time", "noon"),
    ("amend", "--account", "a", "--quantity", "1", "--reason", "r"),
    ("cancel", *NAMED),
    ("cancel", *NAMED, "--since", "yesterday", "--reason", "r"),
    ("backfill", "open", "b", "--reason", "r"),
    ("backfill", "open", "b", "--from", "2026-02-01", "--to", "2026-01-01", "--reason", "r"),
    ("backfill", "open", " ", "--from", "2026-01-01", "--to", "2026-02-01", "--reason", "r"),
    ("backfill", "revert", "b"),
    ("rerate",),
    ("rerate", "--reason", "r", "--period", "june"),
    ("rerate", "--reason", "two\nlines"),
    ("control", "list", "--limit", "0"),
    ("control", "wait"),
]


def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command, where no Kafka is."""
    for name in os.environ:
        if name.startswith("RATEMILL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RATEMILL_KAFKA__BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("USER", "me")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["ratemill", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_bad_input_is_refused_before_anything_is_asked_of_kafka(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    status, out, err = typed(monkeypatch, capsys, tmp_path, *arguments)
    assert (status, out) == (2, ""), err
    assert "127.0.0.1:1" not in err


GOOD: list[tuple[str, ...]] = [
    ("close", "2026-05", "--reason", "r", "--yes"),
    ("amend", *NAMED, "--reason", "r", "--quantity", "1"),
    ("backfill", "list"),
    ("rerate", "--reason", "r", "--yes"),
    ("control", "list", "--json"),
]


@pytest.mark.parametrize("arguments", GOOD, ids=" ".join)
def test_kafka_away_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    status, out, err = typed(monkeypatch, capsys, tmp_path, *arguments)
    assert (status, out) == (1, "")
    assert err.startswith("error: Kafka at 127.0.0.1:1 does not answer")
    assert len(err.splitlines()) == 1
