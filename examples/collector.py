"""The smallest collector: one reading of one resource, counted once however often this runs. python examples/collector.py TARGET SPOOL"""

import sys

from ratemill.collectors.sdk import Publisher, usage

with Publisher(target=sys.argv[1], spool=sys.argv[2]) as publisher:
    publisher.put(usage(
        account="acme", source="example/collector", resource="disk-7", sku="storage", quantity="12.5", unit="GB-Mo",
        start="2026-11-27T10:00:00Z", end="2026-11-27T11:00:00Z",
    ))  # fmt: skip
