"""Where rated line items go to be looked at: Elasticsearch, and exact totals read back from it."""
