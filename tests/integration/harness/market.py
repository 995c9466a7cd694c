"""A database, line items in a file, and a marketplace that asks for credentials: what `ratemill marketplace` works on in tests."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from marketplaces.fake_aws import FakeAws
from marketplaces.fake_azure import FakeAzure
from marketplaces.fake_gcp import FakeGcp
from marketplaces.fake_stripe import FakeStripe
from marketplaces.markets import SINCE, fake_for, listings_text
from marketplaces.server import SECRET, TOKEN, Server
from ratemill.schemas.line_item import RatedLineItem, encode_line_item
from ratemill.schemas.times import NS, format_time

from harness.api import environment_of
from harness.zygote import start

__all__ = ["HOUR_S", "KINDS", "Bed", "guarded"]

MAIN = Path(__file__).parent / "market_main.py"
HOUR_S = 3_600
KINDS = ("aws", "azure", "gcp", "stripe")


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
