"""Ports on 127.0.0.1: whether one is taken, and which are free."""

from __future__ import annotations

import random
import socket

from ..schemas.errors import Unavailable

__all__ = ["HOST", "accepts", "free_ports", "is_free"]

HOST = "127.0.0.1"

# Below the range from which systems take ports for outgoing connections (32768 and up on Linux, 49152 on macOS):
# a port from there can be gone again before the server that it was picked for has bound it.
LOW, HIGH = 20000, 32000


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections of a former server that linger do not make the port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return not accepts(port)  # on macOS a bind can succeed beside a listener on all addresses


def accepts(port: int, timeout: float = 1.0) -> bool:
    """Whether something listens on this port."""
    try:
        with socket.create_connection((HOST, port), timeout=timeout):
            return True
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Different ports that are free now, picked at random so that two starts at the same time rarely meet."""
    found: set[int] = set()
    for _ in range(1000):
        if len(found) == count:
            break
        port = random.randrange(LOW, HIGH)
        if port not in found and is_free(port):
            found.add(port)
    if len(found) < count:
        raise Unavailable(f"no {count} free ports between {LOW} and {HIGH}; name ports with --kafka-port and --elasticsearch-port")
    return sorted(found)
