"""Versions of the schema, numbered from 0001. One that was released is never changed."""
