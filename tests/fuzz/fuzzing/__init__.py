"""Fuzzing of everything that reads what others wrote. See docs/fuzzing.md; `python -m fuzzing --help` from tests/fuzz."""
