"""Evaluations of agents: cases in YAML, run against the HTTP API."""
