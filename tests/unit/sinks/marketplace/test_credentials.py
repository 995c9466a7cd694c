"""Who asks: what is added to a request for each marketplace, that it is fetched anew in time, and that nothing tells it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

import pytest
from marketplaces.markets import listings_text
from ratemill.schemas.errors import BadConfig, Unavailable
from ratemill.sinks.marketplace.credentials import Credentials, Secrets
from ratemill.sinks.marketplace.http import Answer, Request
from ratemill.sinks.marketplace.listings import Listing, read_listings
from ratemill.sinks.marketplace.transport import Transport

CANARY = "canary-4Qz"
REQUEST = Request("POST", "https://example.com/", {"content-type": "x"}, b"{}")


def listing(kind: str) -> Listing:
    return read_listings(listings_text(kind, "2026-11-02T23:00:00Z"), "shop.yaml").listings["shop"]


class Tokens:
    """Gives tokens that last for an hour."""

    def __init__(self, status: int = 200) -> None:
        self.asked: list[Request] = []
        self._status = status

    async def __call__(self, request: Request) -> Answer:
        self.asked.append(request)
        body = f'{{"access_token": "t{len(self.asked)}", "expires_in": 3600}}' if self._status == 200 else f'{{"error": "{CANARY}"}}'
        return Answer(self._status, body.encode())


async def test_a_token_of_azure_is_kept_until_shortly_before_its_end() -> None:
    tokens, clock = Tokens(), [0.0]
    secrets = Secrets(azure_tenant="ten", azure_client_id="cli", azure_client_secret=CANARY)
    credentials = Credentials(secrets, tokens, lambda: clock[0])
    for moment, expected in ((0.0, "t1"), (3_400.0, "t1"), (3_500.0, "t2")):
        clock[0] = moment
        assert (await credentials.sign(listing("azure"), REQUEST))["authorization"] == f"Bearer {expected}"
    credentials.refused(listing("azure"))
    assert (await credentials.sign(listing("azure"), REQUEST))["authorization"] == "Bearer t3"
    asked = tokens.asked[0]
    assert asked.url == "https://login.microsoftonline.com/ten/oauth2/v2.0/token"
    assert parse_qs(asked.body.decode())["client_secret"] == [CANARY]


async def test_a_token_of_google_comes_from_the_metadata_server_or_from_a_file(tmp_path: Path) -> None:
    tokens = Tokens()
    assert (await Credentials(Secrets(), tokens).sign(listing("gcp"), REQUEST))["authorization"] == "Bearer t1"
    assert tokens.asked[0].headers == {"metadata-flavor": "Google"}
    (tmp_path / "token").write_text("mine\n")
    secrets = Secrets(gcp_access_file=str(tmp_path / "token"))
    assert (await Credentials(secrets, tokens).sign(listing("gcp"), REQUEST))["authorization"] == "Bearer mine"
    with pytest.raises(Unavailable, match="cannot be read"):
        await Credentials(Secrets(gcp_access_file=str(tmp_path / "none")), tokens).sign(listing("gcp"), REQUEST)


async def test_a_request_to_aws_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    headers = await Credentials(Secrets(), Tokens()).sign(listing("aws"), REQUEST)
    said = next(value for name, value in headers.items() if name.lower() == "authorization")
    assert said.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/us-east-1/aws-marketplace/aws4_request" in said
    assert CANARY not in said


async def test_no_secret_is_told(caplog: pytest.LogCaptureFixture) -> None:
    secrets = Secrets(azure_tenant="t", azure_client_id="c", azure_client_secret=CANARY, stripe_api_key=CANARY)
    assert CANARY not in repr(secrets) + repr(Credentials(secrets, Tokens()))
    with pytest.raises(Unavailable, match="answered 401") as raised:
        await Credentials(secrets, Tokens(401)).sign(listing("azure"), REQUEST)
    assert CANARY not in str(raised.value) + caplog.text


def test_what_is_missing_is_said_at_once() -> None:
    with pytest.raises(BadConfig) as raised:
        Credentials(Secrets(), Tokens()).check({"azure", "gcp", "stripe"})
    assert ["azure_tenant" in each or "stripe_api_key" in each for each in raised.value.mistakes] == [True, True]


async def test_without_a_connection_nothing_was_sent() -> None:
    async with Transport(Secrets(stripe_api_key=CANARY), 2) as transport:
        answer = await transport.send(listing("stripe"), Request("POST", "http://127.0.0.1:9/", {}, b"x"))
    assert (answer.status, answer.unsent) == (0, True)
    assert CANARY not in repr(answer)
