"""Addresses that stay on this machine, and certificates that cannot be used: said in words, without asking anybody for a password."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key
from ratemill.schemas.addresses import is_here
from ratemill.schemas.errors import BadConfig
from ratemill.sinks.access import address, servers, tls_context, tls_trouble


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine(host: str) -> None:
    assert is_here(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "10.0.0.1", "::", "localhost.example", "127.0.0.1.example", "kafka"])
def test_another_machine(host: str) -> None:
    assert not is_here(host)


def test_servers() -> None:
    assert servers("a:1, [::1]:2,b.example:3") == [("a", 1), ("::1", 2), ("b.example", 3)]


@pytest.mark.parametrize("text", ["", "a", "a:", ":1", "a:x", "a:70000", "me:word@a:1", "a:1,", "http://a:1", "a:1/x"])
def test_no_servers(text: str) -> None:
    with pytest.raises(ValueError, match="it must be host:port"):
        servers(text)


@pytest.mark.parametrize("text", ["", "a:1", "ftp://a:1", "http://a", "https://:1", "https://me:word@a:1"])
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="it must") as raised:
        address(text)
    assert "word" not in str(raised.value).replace("password", "")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    authority = trustme.CA()
    found: dict[str, trustme.Blob | bytes] = {"ca": authority.cert_pem}
    for name in ("one", "two"):
        certificate = authority.issue_cert(f"{name}.example")
        found |= {f"{name}.cert": certificate.cert_chain_pems[0], f"{name}.key": certificate.private_key_pem}
    key = load_pem_private_key(found["one.key"].bytes(), None)  # type: ignore[union-attr]
    found["locked.key"] = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    found["nonsense"] = b"nonsense"
    for name, blob in found.items():
        (tmp_path / name).write_bytes(blob if isinstance(blob, bytes) else blob.bytes())
    return {name: str(tmp_path / name) for name in [*found, "nowhere"]}


def test_a_context_checks_certificate_and_host_name(files: dict[str, str]) -> None:
    context = tls_context("kafka", ca_file=files["ca"], cert_file=files["one.cert"], key_file=files["one.key"])
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1  # those of the system are not trusted beside it


@pytest.mark.parametrize(
    ("ca", "cert", "key", "text"),
    [
        ("nowhere", "", "", "kafka.ca_file: cannot read"), ("nonsense", "", "", "nonsense holds no certificates in PEM"),
        ("ca", "nowhere", "one.key", "kafka.cert_file: cannot read"), ("ca", "one.cert", "nowhere", "kafka.key_file: cannot read"),
        ("ca", "one.cert", "two.key", "are no certificate and its key"), ("ca", "nonsense", "one.key", "are no certificate and its key"),
        ("ca", "one.cert", "locked.key", "in PEM, without a password"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(files: dict[str, str], ca: str, cert: str, key: str, text: str) -> None:
    chosen = {name: files[value] if value else "" for name, value in {"ca_file": ca, "cert_file": cert, "key_file": key}.items()}
    with pytest.raises(BadConfig) as raised:
        tls_context("kafka", **chosen)
    assert text in str(raised.value)
    assert len(raised.value.mistakes) == 1


def test_other_trouble_is_not_put_down_to_a_certificate() -> None:
    assert tls_trouble(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "kafka") is None
