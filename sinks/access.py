"""What holds for every server that Ratemill talks to: which addresses may be reached without TLS, and what TLS means."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from ..schemas.errors import BadConfig

__all__ = ["address", "is_here", "tls_context"]


def is_here(host: str) -> bool:
    """Whether what is sent to a host stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address(url: str) -> SplitResult:
    """An http or https address in parts. Raises ValueError, without repeating it: it may hold a password, which is a reason to refuse it."""
    parts = urlsplit(url)
    if "@" in url:
        raise ValueError("it must not hold a user name or password, which have settings of their own")
    if parts.scheme not in ("http", "https") or not (parts.hostname and parts.port):
        raise ValueError("it must be http:// or https:// with host and port")
    return parts


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
