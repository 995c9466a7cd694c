"""Helpers of the tests that kill, stop and starve real workers: traffic, worker processes, and an oracle of their own."""
