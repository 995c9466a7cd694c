"""`ratemill marketplace report` killed between every two of its steps, against marketplaces that ask for credentials: all is billed, and once."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from harness.market import HOUR_S, KINDS, Bed, guarded
from marketplaces.markets import SINCE
from marketplaces.server import SECRET, TOKEN, Server
from ratemill.sinks.marketplace.reporter import POINTS

KILLED = -9


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "aws":
        pytest.importorskip("botocore")
    return str(request.param)


def test_killed_between_every_two_steps_it_bills_all_of_it_once(kind: str, tmp_path: Path) -> None:
    for point in POINTS:
        now = [SINCE + HOUR_S + 700]
        with Server(guarded(kind, now)) as server:
            bed = Bed(tmp_path / point, kind, server)
            bed.add("a", 1, SINCE, "10.25")
            bed.add("b", 2, SINCE, "3.5")
            status, said = bed.report(now[0], kill=point)
            assert status == KILLED, said
            bed.add("a", 3, SINCE, "11.5")  # what was frozen before is not what it would be now
            now[0] += 600
            status, said = bed.report(now[0])
            assert status == 0, said
            early = {quantity for key, quantity in server.fake.billed if key.dimension == "gb_hours" and quantity}
            assert early == ({Fraction(15)} if point in ("after_read", "after_count") else {Fraction(13)}), point
            now[0] += HOUR_S
            status, said = bed.report(now[0])
            assert status == 0, said
            assert bed.billed == 15, point
            status, said = bed.command(now[0], "status")
            assert status == 0, said


def test_an_answer_that_is_lost_is_asked_for_again_and_no_secret_is_told(kind: str, tmp_path: Path) -> None:
    now = [SINCE + HOUR_S + 700]
    with Server(guarded(kind, now)) as server:
        bed = Bed(tmp_path, kind, server)
        bed.add("a", 1, SINCE, "7")
        server.answers = [("taken", 500)] * 12
        status, said = bed.report(now[0])
        assert (status, bed.billed) == (0, 7), said
        _, waiting = bed.command(now[0], "status", "--json")
        assert '"doubtful"' in waiting
        server.answers = []
        now[0] += 600
        status, more = bed.report(now[0])
        assert (status, bed.billed) == (0, 7), more
        status, last = bed.command(now[0], "status")
        assert status == 0, last
        assert SECRET not in said + waiting + more + last
        assert TOKEN not in said + waiting + more + last
