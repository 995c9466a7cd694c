"""Threshold alerts: rules, when they fire, and the signed webhooks that tell of it."""
