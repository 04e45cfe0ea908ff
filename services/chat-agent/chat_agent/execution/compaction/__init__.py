"""Compaction as runs and a worker do it."""
