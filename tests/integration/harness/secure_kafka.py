"""A Kafka that lets nobody in without a certificate or a password, and nobody do what no ACL allows; and servers that are not what they should be.

It has one listener for each way in: SECURE (SASL_SSL), MTLS (SSL with a client certificate), EXPIRED and ELSEWHERE (as SECURE, with
a certificate that has expired, or is for another host), SASL (a password in the clear), and the stack's own plain one, whose
clients may do everything: the tests set it up through that.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import trustme
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactBytes, CompactString, Int8, Int16, Int32, Schema, TaggedFields
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from ratemill.local import kafka_server
from ratemill.local.artifacts import ensure_jars
from ratemill.local.kafka_server import Listener
from ratemill.local.ports import free_ports
from ratemill.local.processes import Process, spawn, tail, terminate

__all__ = ["CONNECTION", "PLAIN_PASSWORD", "Acl", "SecureKafka", "expired_certificate", "write_pem"]

LISTENERS = ("SECURE", "MTLS", "EXPIRED", "ELSEWHERE", "SASL")
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
PLAIN_PASSWORD = "canary-plain-61f0"  # of the user `plain`, who logs in by SASL PLAIN
# As Event Hubs has it: one user, whose password is a connection string.
CONNECTION = "Endpoint=sb://ns.example.net/;SharedAccessKeyName=listen;SharedAccessKey=canary-0bc1=;EntityPath="
PLAIN = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_plain="{PLAIN_PASSWORD}" user_$ConnectionString="{CONNECTION}usage";'
ITERATIONS = 4_096  # the least that Kafka takes
LIFETIME_S = 1_200.0

RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactional id": 5}
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Alter": 7, "Describe": 8, "ClusterAction": 9, "DescribeConfigs": 10}
PATTERNS = {"literal": 3, "prefixed": 4}


class Acl(NamedTuple):
    """One thing that a principal may do."""

    resource: str
    pattern: str
    name: str
    operation: str


def write_pem(path: Path, certificate: trustme.LeafCert) -> Path:
    """Certificate chain and key (PKCS 8, the only form that Kafka reads) in one file."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    blobs = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), *(blob.bytes() for blob in certificate.cert_chain_pems)]
    path.write_bytes(b"".join(blobs))
    return path


def expired_certificate(authority: trustme.CA, host: str) -> trustme.LeafCert:
    """One that was good until yesterday."""
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    return authority.issue_cert(host, not_before=yesterday - dt.timedelta(days=1), not_after=yesterday)


class SecureKafka:
    """One broker with its certificates in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        own, controller, *more = free_ports(2 + len(LISTENERS))
        self.plain = f"127.0.0.1:{own}"
        self.ports = dict(zip(LISTENERS, more, strict=True))
        self._ports = (own, controller)
        self._home = folder / "kafka"
        self._log = folder / "kafka.log"
        self._process: Process | None = None

    def address(self, listener: str) -> str:
        """Bootstrap server of a listener."""
        return f"127.0.0.1:{self.ports[listener]}"

    def client_certificate(self, name: str) -> Path:
        """A certificate, and its key in the same file, by which Kafka knows a client as `User:name`."""
        return write_pem(self.folder / f"client-{name}.pem", self.authority.issue_cert(f"{name}.example", common_name=name))

    def start(self) -> None:
        """Returns when the broker answers."""
        jars = ensure_jars(lambda _: None).kafka
        good = self.authority.issue_cert("127.0.0.1", "localhost")
        stores = {
            "SECURE": good, "MTLS": good, "EXPIRED": expired_certificate(self.authority, "127.0.0.1"),
            "ELSEWHERE": self.authority.issue_cert("kafka.example"),
        }  # fmt: skip
        listeners = []
        for name in LISTENERS:
            settings = {}
            if name != "MTLS":
                settings |= {"sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN"}
                settings |= {"scram-sha-512.sasl.jaas.config": SCRAM, "plain.sasl.jaas.config": PLAIN}
            if name in stores:
                path = write_pem(self.folder / f"{name}.pem", stores[name])
                settings |= {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(path)}
            if name == "MTLS":
                settings |= {"ssl.client.auth": "required", "ssl.truststore.type": "PEM", "ssl.truststore.location": str(self.ca_file)}
                settings["ssl.principal.mapping.rules"] = "RULE:^.*CN=([^,]+).*$/$1/"
            protocol = {"MTLS": "SSL", "SASL": "SASL_PLAINTEXT"}.get(name, "SASL_SSL")
            listeners.append(Listener(name, [self.ports[name]], protocol, settings=settings))
        more = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:root;User:plain;User:$ConnectionString",
            "allow.everyone.if.no.acl.found": "false",
        }  # fmt: skip
        kafka_server.prepare(self._home, 1, [self._ports], jars, listeners, more)
        self._process = spawn("kafka", kafka_server.command(self._home, jars), self._log, self._home, LIFETIME_S)
        deadline = time.monotonic() + 60
        while not kafka_server.answers(self._ports[0], 1):
            assert time.monotonic() < deadline, tail(str(self._log))
            time.sleep(0.2)

    def stop(self) -> None:
        """End the broker."""
        if self._process is not None:
            terminate([self._process], 10)

    # -- users and rights --------------------------------------------------------------------------------------------

    def set_password(self, user: str, password: str) -> None:
        """Make a SCRAM user, or change the password: from then on the old one opens no new connection."""
        salt = os.urandom(16)
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
        answer = self._ask(AlterUserScram([(user, 2, ITERATIONS, salt, salted, {})]))
        assert [result[1] for result in answer.results] == [0], answer

    def allow(self, user: str, acls: Iterable[Acl]) -> None:
        """Let a principal do these things."""
        for acl in acls:
            pattern = (RESOURCES[acl.resource], acl.name, PATTERNS[acl.pattern])
            answer = self._ask(CreateAclsRequest(*pattern, f"User:{user}", "*", OPERATIONS[acl.operation], 3))
            assert [result[0] for result in answer.creation_responses] == [0], answer

    def forbid(self, user: str, acl: Acl) -> None:
        """Take one right back."""
        pattern = (RESOURCES[acl.resource], acl.name, PATTERNS[acl.pattern])
        answer = self._ask(DeleteAclsRequest(*pattern, f"User:{user}", "*", OPERATIONS[acl.operation], 3))
        assert [len(result[2]) for result in answer.filter_responses] == [1], answer

    def _ask(self, request: Request) -> Response:
        async def ask() -> Response:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.plain)
            try:
                await admin.start()
                return await admin._send_request(request)
            finally:
                await admin.close()

        return asyncio.run(ask())


# The library cannot set SCRAM passwords: KIP-554.
TEXT = CompactString("utf-8")


class AlterUserScramResponse(Response):
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", CompactArray(("user", TEXT), ("error_code", Int16), ("error_message", TEXT), ("tags", TaggedFields))),
        ("tags", TaggedFields),
    )


class AlterUserScramStruct(RequestStruct):
    API_KEY = 51
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = AlterUserScramResponse
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", TEXT), ("mechanism", Int8), ("tags", TaggedFields))),
        (
            "upsertions",
            CompactArray(
                ("name", TEXT), ("mechanism", Int8), ("iterations", Int32), ("salt", CompactBytes), ("salted", CompactBytes), ("tags", TaggedFields)
            ),
        ),
        ("tags", TaggedFields),
    )  # fmt: skip


class AlterUserScram(Request[AlterUserScramStruct]):
    API_KEY = 51

    def __init__(self, upsertions: list[tuple[str, int, int, bytes, bytes, dict[int, bytes]]]) -> None:
        self._upsertions = upsertions

    def build(self, request_struct_class: type[AlterUserScramStruct]) -> AlterUserScramStruct:
        return request_struct_class([], self._upsertions, {})
