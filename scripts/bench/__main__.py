"""Measure Acme beside a pipe, the bare Agents SDK, and Agno: see docs/benchmarks.md."""

from scripts.bench.commands import main

if __name__ == "__main__":
    main()
