"""What holds for every server that Ratemill talks to: how its address is written, and what TLS means."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from ..schemas.addresses import is_here
from ..schemas.errors import BadConfig

__all__ = ["CLEAR", "KafkaAccess", "address", "check_kafka", "kafka_client", "servers", "tls_context", "tls_trouble"]

CLEAR = "sends everything in the clear to another machine"


class KafkaAccess(Protocol):
    """How to reach Kafka, but for the password."""

    @property
    def bootstrap(self) -> str: ...
    @property
    def security_protocol(self) -> str: ...
    @property
    def allow_plaintext(self) -> bool: ...
    @property
    def sasl_mechanism(self) -> str: ...
    @property
    def username(self) -> str: ...
    @property
    def ca_file(self) -> str: ...
    @property
    def cert_file(self) -> str: ...
    @property
    def key_file(self) -> str: ...


def address(url: str) -> SplitResult:
    """An http or https address in parts. Raises ValueError, without repeating it: it may hold a password, which is a reason to refuse it."""
    parts = urlsplit(url)
    if "@" in url:
        raise ValueError("it must not hold a user name or password, which have settings of their own")
    if parts.scheme not in ("http", "https") or not (parts.hostname and parts.port):
        raise ValueError("it must be http:// or https:// with host and port")
    return parts


def servers(bootstrap: str) -> list[tuple[str, int]]:
    """Host and port of each of `host:port,host:port`. Raises ValueError, without repeating it, as `address`."""
    found = []
    for server in map(str.strip, bootstrap.split(",")):
        try:
            parts = urlsplit(f"//{server}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not (host and port) or parts.netloc != server or "@" in server:
            raise ValueError("it must be host:port, several separated by commas, without a user name")
        found.append((host, port))
    return found


def tls_trouble(error: ssl.SSLError, section: str) -> tuple[str, str] | None:
    """What is wrong with a certificate, the server's or ours, and what to do; None when it is something else.

    section: of the configuration, for what to do.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        for codes, what, todo in _UNTRUSTED:
            if error.verify_code in codes:
                return what, todo.format(section)
        return f"its certificate is not accepted: {error.verify_message}", "renew it there"
    reason = (getattr(error, "reason", None) or "").upper()  # of OpenSSL; absent in errors that Python itself raises
    if "CERTIFICATE_REQUIRED" in reason:
        return "it wants a client certificate", f"set {section}.cert_file and {section}.key_file"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        words = reason.split("ALERT_")[-1].lower().replace("_", " ")
        return f"it refuses our client certificate ({words})", f"set {section}.cert_file to one that it accepts"
    return None


# X509_V_ERR_… of OpenSSL
_UNTRUSTED: tuple[tuple[frozenset[int], str, str], ...] = (
    (frozenset({9, 10}), "its certificate has expired, or is not valid yet", "renew it there"),
    (frozenset({62, 64}), "its certificate is for another host", "use a name that is in the certificate, or have this one put into it"),
    (frozenset({2, 18, 19, 20, 21}), "its certificate comes from no authority that is trusted here", "set {}.ca_file to the authority's certificate"),
)


def tls_context(section: str, *, ca_file: str = "", cert_file: str = "", key_file: str = "") -> ssl.SSLContext:
    """TLS 1.2 or newer, with the certificate and the host name of the server checked; PEM files, "" for those of the system, or none.

    section: of the configuration, for the message. Raises BadConfig when a file cannot be used.
    """
    files: Mapping[str, str] = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
    for name, path in files.items():
        if path:
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                raise BadConfig([f"configuration: {section}.{name}: cannot read {path}: {error.strerror}"]) from error
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except ssl.SSLError as error:
        raise BadConfig([f"configuration: {section}.ca_file: {ca_file} holds no certificates in PEM"]) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert_file:
        try:
            # Without a password of its own the library would ask a terminal for that of an encrypted key.
            context.load_cert_chain(cert_file, key_file, password=lambda: "")
        except ssl.SSLError as error:
            raise BadConfig([
                f"configuration: {section}.cert_file: {cert_file} and {key_file} are no certificate and its key in PEM, without a password"
            ]) from error  # fmt: skip
    return context


def check_kafka(kafka: KafkaAccess, password: str) -> None:
    """Raise ValueError for settings that do not go together, or that would send to another machine in the clear."""
    protocol = kafka.security_protocol
    sasl, tls = protocol.startswith("SASL"), protocol.endswith("SSL")
    login = (kafka.sasl_mechanism, kafka.username, password)
    if sasl and not all(login):
        raise ValueError("SASL needs sasl_mechanism, username and password")
    if not sasl and any(login):
        raise ValueError(f"security_protocol {protocol} has no use for sasl_mechanism, username and password; set SASL_SSL, or remove them")
    if not tls and (kafka.ca_file or kafka.cert_file or kafka.key_file):
        raise ValueError(f"security_protocol {protocol} has no use for ca_file, cert_file and key_file; set SSL or SASL_SSL, or remove them")
    if bool(kafka.cert_file) != bool(kafka.key_file):
        raise ValueError("cert_file and key_file go together; set both, or none")
    if not all(is_here(host) for host, _ in servers(kafka.bootstrap)) and not (tls or kafka.allow_plaintext):
        raise ValueError(f"security_protocol {protocol} {CLEAR}; set SASL_SSL or SSL, or allow_plaintext = true if you mean it")


def kafka_client(kafka: KafkaAccess, password: str) -> dict[str, Any]:
    """Connection settings for any aiokafka client; certificates are read anew each time. Raises BadConfig when they cannot be used."""
    settings: dict[str, Any] = {"bootstrap_servers": kafka.bootstrap, "security_protocol": kafka.security_protocol}
    if kafka.security_protocol.endswith("SSL"):
        settings["ssl_context"] = tls_context("kafka", ca_file=kafka.ca_file, cert_file=kafka.cert_file, key_file=kafka.key_file)
    if kafka.security_protocol.startswith("SASL"):
        settings |= {"sasl_mechanism": kafka.sasl_mechanism, "sasl_plain_username": kafka.username, "sasl_plain_password": password}
    return settings
