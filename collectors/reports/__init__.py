"""Reports that replace what they said before: cost and usage files of AWS, Azure and GCP, from a bucket or a folder to usage events.

    layouts   which versions of a report there are, by the manifests of its provider
    stores    where the files are: a folder, S3 and what speaks its protocol, Azure Blob Storage
    lines     the rows of a version, added up to lines: the usage that one line item is about
    state     what was published of each line, and what a newer version changes; durable
    run       the loop: find, read, compare, hand over

A report is published again and again until its month is final, with other amounts, other files and other row ids. So rows are not what counts: a
line is, which is everything that decides where usage lands (account, SKU, unit, time, region, resource, dimensions). Its first version is an event
with the whole quantity, every later one an event with the difference. docs/collectors-cloud.md tells more.
"""

from __future__ import annotations
