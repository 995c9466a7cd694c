"""From usage to the raw topics: files as records, and the collector SDK. Nothing here decides what usage counts.

Importing this imports nothing else: the SDK has to stay light.
"""
