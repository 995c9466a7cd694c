"""Costs in the shape of Elastic Cloud's Billing Costs Analysis API v2, so that its clients read Ratemill unchanged (docs/elastic-view.md)."""
