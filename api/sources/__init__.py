"""Completeness: which sources were heard of in which hour, so that "no usage" is told from "collector silent"."""
