"""Which addresses stay on this machine: the others are reached over TLS, or somebody says that they need not be."""

from __future__ import annotations

from ipaddress import ip_address

__all__ = ["is_here"]


def is_here(host: str) -> bool:
    """Whether what is sent to a host stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
