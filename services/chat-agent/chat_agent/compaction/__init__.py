"""Compaction: between turns, what an agent reads of a long conversation is summarized."""
