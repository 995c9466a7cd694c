"""Fixtures that only tests on real servers use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.secure_kafka import SecureKafka


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """A running Kafka that asks for passwords and certificates."""
    kafka = SecureKafka(tmp_path_factory.mktemp("secure-kafka"))
    kafka.start()
    yield kafka
    kafka.stop()
