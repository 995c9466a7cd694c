"""Meters: what a usage event says, in which unit, for which SKU and window. Pure, exact, no I/O."""
