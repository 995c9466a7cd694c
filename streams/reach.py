"""Why Kafka does not let us in, in words.

The client library logs why a connection failed, and raises only that there is none. So then one more connection is made here, as every
client makes it, and what happens to it is said in one line.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from ..schemas.errors import AccessDenied, RatemillError, Unavailable
from ..sinks.access import kafka_client, servers, tls_trouble
from .config import KafkaConfig

__all__ = ["admin_client", "client_settings", "denied", "not_allowed", "why_not"]

TIMEOUT_S = 5.0
NOT_ALLOWED = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError, TransactionalIdAuthorizationFailed)


def client_settings(kafka: KafkaConfig) -> dict[str, Any]:
    """Connection settings for any aiokafka client; certificates are read anew each time. Raises BadConfig when they cannot be used."""
    return kafka_client(kafka, kafka.password.get_secret_value())


@asynccontextmanager
async def admin_client(kafka: KafkaConfig) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client that is connected. Raises AccessDenied or Unavailable with the reason when it cannot be."""
    admin = AIOKafkaAdminClient(**client_settings(kafka), request_timeout_ms=20_000)
    try:
        try:
            await admin.start()
        except (KafkaError, OSError, TimeoutError) as error:
            raise await why_not(kafka) from error
        yield admin
    finally:
        await admin.close()


def not_allowed(kafka: KafkaConfig, error: BaseException | None) -> AccessDenied | None:
    """Which right is missing, if that is why a request failed with this error."""
    if not isinstance(error, NOT_ALLOWED):
        return None
    who = f"user {kafka.username}" if kafka.username else "this client"
    return AccessDenied(f"Kafka at {kafka.bootstrap} does not allow {who} what it needs ({error}); give it the rights that docs/security.md lists")


async def denied(kafka: KafkaConfig, error: BaseException | None) -> AccessDenied | None:
    """What a person has to mend, if that is why a client could not do something; None when trying again may help."""
    if isinstance(error, (KafkaConnectionError, NodeNotReadyError)):
        reason = await why_not(kafka)
        return reason if isinstance(reason, AccessDenied) else None
    return not_allowed(kafka, error)


async def why_not(kafka: KafkaConfig) -> RatemillError:
    """Why no client can connect and log in: AccessDenied, or Unavailable when there is no answer (or one after all)."""
    silent: RatemillError | None = None
    for host, port in servers(kafka.bootstrap):
        try:
            await _connect(kafka, host, port)
        except (KafkaError, OSError, TimeoutError, ValueError) as error:
            reason = await _in_words(kafka, host, port, error.__cause__ or error)
            if isinstance(reason, AccessDenied):
                return reason
            silent = silent or reason
        else:
            return Unavailable(f"Kafka at {host}:{port} did not answer at first, and does now; try again")
    return silent or Unavailable("no address of Kafka is configured; set kafka.bootstrap")


async def _connect(kafka: KafkaConfig, host: str, port: int) -> None:
    settings = {name: value for name, value in client_settings(kafka).items() if name != "bootstrap_servers"}
    connection = await create_conn(host, port, request_timeout_ms=int(TIMEOUT_S * 1_000), **settings)
    try:
        # Only now a listener that wants a log-in closes the connection of a client without one.
        await connection.send(MetadataRequest([]))
    finally:
        connection.close()


async def _in_words(kafka: KafkaConfig, host: str, port: int, error: BaseException) -> RatemillError:
    trouble = await _trouble(kafka, host, port, error)
    if trouble is None:
        return Unavailable(f"Kafka at {host}:{port} does not answer ({_short(error)}); start it (`ratemill local up`) or set kafka.bootstrap")
    what, todo = trouble
    text = f"Kafka at {host}:{port}: {what}; {todo}"
    return Unavailable(text) if what == _CLOSED else AccessDenied(text)


_CLOSED = "it closes the connection"


async def _trouble(kafka: KafkaConfig, host: str, port: int, error: BaseException) -> tuple[str, str] | None:
    """What is the matter, and what to do; None when nobody answers."""
    if isinstance(error, ssl.SSLError) and (found := tls_trouble(error, "kafka")):
        return found
    if isinstance(error, SaslAuthenticationFailed):
        return f"it refuses user {kafka.username} ({kafka.sasl_mechanism})", "check kafka.username and kafka.password"
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"it does not take {kafka.sasl_mechanism}", "set kafka.sasl_mechanism to one that the listener has"
    if isinstance(error, IllegalSaslStateError):
        return "it takes no user name and password there", "set kafka.bootstrap to its SASL listener, or kafka.security_protocol to what this one has"
    if isinstance(error, ValueError):  # of SCRAM: the server has to prove that it knows the password, too
        return "it does not know the password itself", "make sure that this is your Kafka before you try again"
    if isinstance(error, (ConnectionRefusedError, TimeoutError)) or not isinstance(error, (OSError, EOFError)):
        return None
    wants_tls, speaks_tls = kafka.security_protocol.endswith("SSL"), await _speaks_tls(host, port)
    if speaks_tls is None:
        return None
    if speaks_tls and not wants_tls:
        return "it speaks TLS there, and we would not", "set kafka.security_protocol to SASL_SSL or SSL"
    if wants_tls and not speaks_tls:
        return "it does not speak TLS there", "set kafka.bootstrap to its TLS listener"
    return _CLOSED, "if that listener wants a user name, set kafka.security_protocol to SASL_SSL"


def _short(error: BaseException) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


async def _speaks_tls(host: str, port: int) -> bool | None:
    """Whether TLS can be begun there; None when nobody answers. Nothing is sent on it, so who answers does not matter."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=anybody)
    except (ssl.SSLError, ConnectionResetError):
        return False
    except OSError:
        return None
    writer.close()
    return True
