"""Reporting usage to marketplaces and to Stripe: exact usage becomes whole numbers, each sent once, and never anything else under its key."""
