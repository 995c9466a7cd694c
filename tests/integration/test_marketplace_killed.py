"""`ratemill marketplace report` killed between every two of its steps, against marketplaces that ask for credentials: all is billed, and once."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from harness.api import environment_of
from harness.zygote import start
from marketplaces.fake_aws import FakeAws
from marketplaces.fake_azure import FakeAzure
from marketplaces.fake_gcp import FakeGcp
from marketplaces.fake_stripe import FakeStripe
from marketplaces.markets import SINCE, fake_for, listings_text
from marketplaces.server import SECRET, TOKEN, Server
from ratemill.schemas.line_item import RatedLineItem, encode_line_item
from ratemill.schemas.times import NS, format_time
from ratemill.sinks.marketplace.reporter import POINTS

MAIN = Path(__file__).parent / "harness" / "market_main.py"
HOUR_S = 3_600
KINDS = ("aws", "azure", "gcp", "stripe")
KILLED = -9


class Bed:
    """A database, line items in a file, and a marketplace."""

    def __init__(self, folder: Path, kind: str, server: Server) -> None:
        self.folder, self.server = folder, server
        folder.mkdir(exist_ok=True)
        text = listings_text(kind, format_time(SINCE * NS)).replace(f"marketplace: {kind}", f"marketplace: {kind}, url: '{server.url}'")
        (folder / "shop.yaml").write_text(text)
        (folder / "items").write_bytes(b"")
        self.environment = environment_of({
            "RATEMILL_API__DATABASE": f"sqlite:///{folder}/control.db", "RATEMILL_MARKETPLACE__LISTINGS": str(folder / "shop.yaml"),
            "RATEMILL_MARKETPLACE__LEASE_S": "1.5", "RATEMILL_MARKETPLACE__TIMEOUT_S": "0.5", "RATEMILL_MARKETPLACE__AZURE_TENANT": "tenant",
            "RATEMILL_MARKETPLACE__AZURE_CLIENT_ID": "client", "RATEMILL_MARKETPLACE__AZURE_CLIENT_SECRET": SECRET,
            "RATEMILL_MARKETPLACE__AZURE_LOGIN_URL": server.url, "RATEMILL_MARKETPLACE__GCP_METADATA_URL": server.url,
            "RATEMILL_MARKETPLACE__STRIPE_API_KEY": SECRET, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
        })  # fmt: skip

    def add(self, id: str, revision: int, hour: int, quantity: str) -> None:
        start, end = format_time(hour * NS), format_time((hour + HOUR_S) * NS)
        item = RatedLineItem(
            id, revision, "acct-1", "USD", start, end, start, end, "storage", "0", "0", "0", "0", "Usage", None, "", quantity, "GB-h",
            "", "", "", "", "", consumed_quantity=quantity, consumed_unit="GB-h",
        )  # fmt: skip
        with (self.folder / "items").open("ab") as file:
            file.write(encode_line_item(item) + b"\n")

    def report(self, now: int, *arguments: str, **spec: Any) -> tuple[int, str]:
        """Exit status, and what was printed."""
        return self.command(now, "report", "--once", *arguments, **spec)

    def command(self, now: int, *arguments: str, **spec: Any) -> tuple[int, str]:
        words = json.dumps({"items": str(self.folder / "items"), "now": now, **spec})
        log = self.folder / "log"
        with log.open("wb") as output:
            process = start(str(MAIN), words, "marketplace", *arguments, cwd=self.folder, env=self.environment, output=output)
            status = process.wait(60)
        return status, log.read_text()

    @property
    def billed(self) -> Fraction:
        return sum((quantity for key, quantity in self.server.fake.billed if key.dimension == "gb_hours"), Fraction(0))


def guarded(kind: str, now: list[int]) -> FakeAws | FakeAzure | FakeGcp | FakeStripe:
    """The fake, which asks who asks."""
    fake = fake_for(kind, lambda: now[0])
    if isinstance(fake, FakeAws):
        fake.signed = True
    elif isinstance(fake, FakeAzure | FakeGcp):
        fake.tokens = frozenset({TOKEN})
    elif isinstance(fake, FakeStripe):
        fake.keys = frozenset({SECRET})
    return fake  # type: ignore[return-value]


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
