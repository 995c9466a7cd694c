"""Identities of counted events in a partition's store: in memory first, then on the disk."""
