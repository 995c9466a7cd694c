"""What each account owes for a closed month, with nothing but aiokafka: python invoice_job.py PERIOD [BOOTSTRAP] [TOPIC_PREFIX]

It keeps nothing and reads all of usage.rated each time; `ratemill.invoicing` is the same with a memory. The contract: docs/rated-topic.md."""

import asyncio
import json
import sys
from datetime import datetime
from decimal import Context, Decimal, Inexact, localcontext

from aiokafka import AIOKafkaConsumer


async def committed(topic, bootstrap):
    """All that is committed in a topic up to its high watermarks as of now."""
    reader = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed")
    asking = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap)  # read_uncommitted: what it calls the end is the high watermark
    async with reader, asking:
        ends = await asking.end_offsets(asking.assignment())
        while unread := [tp for tp, end in ends.items() if await reader.position(tp) < end]:
            for records in (await reader.getmany(*unread, timeout_ms=500)).values():
                for record in (each for each in records if each.value):
                    yield record


def month_of(item):
    """12 x year + month - 1 of the billing month: its middle is in the same month of UTC in every time zone."""
    start, end = datetime.fromisoformat(item["BillingPeriodStart"]), datetime.fromisoformat(item["BillingPeriodEnd"])
    middle = start + (end - start) / 2
    return 12 * middle.year + middle.month - 1


async def totals(month, bootstrap, prefix=""):
    """({(account, currency): what it owes}, partitions that have not closed the month)."""
    closed, items, owed, still_open = {}, {}, {}, set()
    async for record in committed(prefix + "ratemill.control", bootstrap):  # first the closes, then the line items: that is the proof
        said = json.loads(record.value)
        if said["control"] == "receipt":
            closed[said["partition"]] = max(said["closed_through"], closed.get(said["partition"], 0))
    async for record in committed(prefix + "usage.rated", bootstrap):
        item = json.loads(record.value)
        if items.get(item["x_LineItemId"], (0,))[0] < item["x_Revision"]:
            items[item["x_LineItemId"]] = item["x_Revision"], record.partition, item
    for _, partition, item in items.values():
        if month_of(item) == month and closed.get(partition, 0) < month:
            still_open.add(partition)
        elif month_of(item) == month and not item.get("x_Withdrawn"):
            key = item["BillingAccountId"], item["BillingCurrency"]
            owed[key] = owed.get(key, Decimal(0)) + Decimal(item["BilledCost"])
    return owed, still_open


if __name__ == "__main__":
    year, month = map(int, sys.argv[1].split("-"))
    with localcontext(Context(prec=600, traps=[Inexact])):  # rather an error than a lost digit
        owed, still_open = asyncio.run(totals(12 * year + month - 1, *(sys.argv[2:] or ["127.0.0.1:9092"])))
    for (account, currency), amount in sorted(owed.items()):
        print(f"{account}\t{currency}\t{amount:f}")
    sys.exit(f"partitions {sorted(still_open)} have not closed the month: their accounts are left out" if still_open else 0)
