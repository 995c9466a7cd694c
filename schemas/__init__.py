"""The names of the domain: usage events and their input formats, line items, limits, errors. No Kafka, no files, no clock.

Importing this imports nothing else: the collector SDK uses a few light modules of it.
"""
