"""Records as the C parser makes them, without a copy into a dataclass each: half the cost of consuming.

aiokafka wraps every parsed record in a `ConsumerRecord` of eleven fields. The parsed record already has what Ratemill reads
(offset, timestamp, key, value, headers), so the wrapper is left out in this process. It is one method of aiokafka's; should a
version of it no longer look as expected, the wrapper stays and only speed is lost.
"""

from __future__ import annotations

from typing import Any

from aiokafka.consumer import fetcher

__all__ = ["use_lean_records"]

_NEEDED = ("_consumer_record", "_unpack_records")


def use_lean_records() -> bool:
    """Switch it on for all consumers of this process; False when this aiokafka does not fit."""
    records: Any = getattr(fetcher, "PartitionRecords", None)
    if records is None or not all(hasattr(records, name) for name in _NEEDED):
        return False

    class LeanRecords(records):  # type: ignore[misc]
        def _consumer_record(self, tp: Any, record: Any) -> Any:
            return record

    fetcher.PartitionRecords = LeanRecords
    return True
