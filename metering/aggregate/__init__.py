"""Aggregations of samples, one file each. A window's quantity is a pure function of the set of samples."""
