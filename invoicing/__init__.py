"""What an invoice job needs: read `usage.rated`, keep what counts, and hand each closed month over exactly once (docs/rated-topic.md).

    async with InvoiceJob(Store(path), {"bootstrap_servers": "kafka:9092"}) as job:
        await job.catch_up()
        for handover in job.store.due():
            deliver(handover)                 # again with the same bytes, should this process die before the next line
            job.store.delivered(handover)
"""

from __future__ import annotations

from .invoice import AccountInvoice, Invoice, Line, Part
from .job import InvoiceJob, Topics
from .store import Handover, Store

__all__ = ["AccountInvoice", "Handover", "Invoice", "InvoiceJob", "Line", "Part", "Store", "Topics"]
