"""What peers write is compared with the oracle, and their parts that need no server count as the oracle does."""

from __future__ import annotations

import itertools
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from ratemill.bench.oracle import cost_of, expect
from ratemill.bench.peers.__main__ import _installed
from ratemill.bench.peers.bytewax_flow import Account
from ratemill.bench.peers.environments import PARTS, version_of
from ratemill.bench.peers.job import Settings, Tariff, tariffs
from ratemill.bench.peers.programs import PEERS
from ratemill.bench.peers.results import COLUMNS, PeerResult, Written, markdown, rows
from ratemill.bench.peers.script import Windows
from ratemill.bench.shape import PRICES, Shape, events
from ratemill.schemas.errors import Unavailable

FOLDER = Path(__file__).parents[2] / "bench" / "peers"
TIERS = {sku.name: sku.tiers for sku in PRICES}
SETTINGS = Settings("", "", "", "", "", "", 1, {name: list(tiers) for name, tiers in TIERS.items()})

# All of one account, so that tiers are crossed.
DRAWN = [value for chunk in events(Shape(3_000, 3), 1_770_000_000) for _, value in chunk]
VALUES = [re.sub(rb'"subject":"account-[0-9]{4}"', b'"subject":"account-0001"', value) for value in DRAWN]
EXPECTED = expect(VALUES)


def written(*records: tuple[str, str, str]) -> Written:
    found = Written()
    for window, quantity, cost in records:
        found.take(window.encode(), orjson.dumps({"quantity": quantity, "cost": cost}))
    return found


def by_script(values: list[bytes]) -> Written:
    windows, found = Windows(SETTINGS), Written()
    for number, value in enumerate(values):
        windows.add(orjson.loads(value))
        if number % 700 == 0 or number == len(values) - 1:
            for window, quantity, cost in windows.changed():
                found.take(window.encode(), orjson.dumps({"quantity": str(quantity), "cost": str(cost)}))
    return found


def test_the_usage_here_has_duplicates_and_crosses_tiers() -> None:
    assert EXPECTED.duplicates > 20
    crossed = [g for g, (quantity, _) in EXPECTED.groups.items() if (bound := TIERS[g.split(" ")[1]][0][0]) and quantity > Decimal(bound)]
    assert len(crossed) > 5


def test_the_script_counts_as_the_oracle_does() -> None:
    found = by_script(VALUES)
    assert found.holds(EXPECTED)
    assert found.compare(EXPECTED, TIERS) == []
    assert found.records > found.windows == EXPECTED.windows


def test_bytewax_state_counts_as_the_oracle_does_also_after_a_restart() -> None:
    account, found = Account(tariffs(SETTINGS.prices)), Written()
    for first in range(0, len(VALUES), 500):
        read = [orjson.loads(value) for value in VALUES[first : first + 500]]
        batch = [(e["source"], e["id"], e["data"]["sku"], e["time"][:13], e["data"]["quantity"]) for e in read]
        assert account.on_batch(batch) == ([], False)
        account = Account(tariffs(SETTINGS.prices), account.snapshot())  # what was not written yet is in the snapshot
        assert account.notify_at() is not None
        if first % 1_000:
            for window, quantity, cost in account.on_notify()[0]:
                found.take(f"account-0001 {window}".encode(), orjson.dumps({"quantity": quantity, "cost": cost}))
    assert account.notify_at() is None
    assert found.compare(EXPECTED, TIERS) == []


@pytest.mark.parametrize("wrong", ["an event lost", "an event twice", "a cost"])
def test_a_wrong_output_is_found(wrong: str) -> None:
    values = list(VALUES)
    if wrong == "an event lost":
        del values[1_000]
    if wrong == "an event twice":
        event = orjson.loads(values[1_000])
        values.append(orjson.dumps({**event, "id": "another"}))
    found = by_script(values)
    if wrong == "a cost":
        found.take(b"account-0001 acme.product-00 2026-02-02T01", b'{"quantity": "0", "cost": "0.000001"}')
    assert len(found.compare(EXPECTED, TIERS)) == 1
    assert found.holds(EXPECTED) is False


def test_the_newest_record_of_a_window_counts() -> None:
    found = written(("a acme.product-00 2026-03-01T10", "1", "0.011"), ("a acme.product-00 2026-03-01T10", "3", "0.033"))
    assert (found.records, found.windows, found.bytes) == (2, 1, 2 * 31 + len(b'{"quantity":"1","cost":"0.011"}') * 2)
    usage = b'{"source":"s","id":"1","subject":"a","time":"2026-03-01T10:00:00Z","data":{"sku":"acme.product-00","quantity":"3"}}'
    assert found.compare(expect([usage]), TIERS) == []


@pytest.mark.parametrize("cuts", [("0", "1000"), ("0", "299.5", "300", "300.001", "700", "1000"), ("0", "650", "1000")])
def test_parts_of_a_graduated_price_cost_what_the_whole_costs(cuts: tuple[str, ...]) -> None:
    tiers = TIERS["acme.product-03"]
    assert len(tiers) == 3
    at = [Decimal(cut) for cut in cuts]
    assert sum(Tariff(tiers).cost(before, after) for before, after in itertools.pairwise(at)) == cost_of(tiers, Decimal(1_000))


def result(row: str, round_: int, figure: int, **more: Any) -> PeerResult:
    given = {"wall_s": 1.0, "cpu_s": 1.0, "calibration": 5, "peak_mb": 7, "records": 9, "written_mb": 1.0, "windows": 3, "mismatches": []}
    return PeerResult(row=row, version="1.2", round=round_, events=10, events_per_cpu_s=figure, **{**given, **more})


def test_the_table_has_medians_and_ratios_to_ratemill_and_says_what_is_wrong() -> None:
    measured = [result("ours", 1, 100), result("b", 1, 50), result("ours", 2, 400), result("b", 2, 40, mismatches=["x"]), result("ours", 3, 200)]
    ours, other = (dict(zip(COLUMNS, row, strict=True)) for row in rows(measured, "ours"))
    assert (ours["runs"], ours["events per CPU-s"], ours["least"], ours["most"], ours["checks"]) == ("3", "200", "100", "400", "OK")
    assert (other["system"], other["events per CPU-s"], other["ratio to Ratemill"], other["checks"]) == ("b", "45", "0.23", "MISMATCH")


def test_the_table_is_markdown() -> None:
    assert markdown(("a", "bcd"), [("1,000", "x"), ("2", "")]) == "| a     | bcd |\n| ----- | --- |\n| 1,000 | x   |\n| 2     |     |"


def test_every_peer_is_installed_from_pins_with_hashes() -> None:
    locks = sorted(FOLDER.glob("*.lock"))
    assert {lock.stem for lock in locks} == {"bytewax", "faust", "quix", "script"} == {path.stem for path in FOLDER.glob("*.in")}
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        pins = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
        assert all(re.match(r"[a-z0-9._-]+==\S+ .*\\$", pin) for pin in pins)
        assert text.count("--hash=sha256:") >= len(pins)
    sums = orjson.loads((FOLDER / "artifacts.json").read_bytes())
    for coordinate in (c for part in PARTS.values() for c in part):
        group, name, version = coordinate.split(":")
        assert re.fullmatch("[0-9a-f]{64}", sums[f"{group.replace('.', '/')}/{name}/{version}/{name}-{version}.jar"])


def test_who_cannot_be_installed_is_skipped_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(_: Any) -> list[str]:
        raise Unavailable("cannot install quix: no wheel")

    peers = [peer._replace(command=fails if peer.family == "quix" else lambda _: []) for peer in PEERS]
    assert _installed(peers) == [peer for peer in peers if peer.family != "quix"]
    assert capsys.readouterr().err == "quix is skipped: cannot install quix: no wheel\n"


def test_every_row_tells_its_version() -> None:
    assert all(re.match(r"[0-9]+\.[0-9]+", peer.version()) for peer in PEERS)
    with pytest.raises(Unavailable, match="does not name nothing"):
        version_of("quix", "nothing")
