"""Measure Acme beside others (`chat`), or billing beside bare loops (`billing`): see docs/benchmarks.md."""

import sys

from scripts.bench import billing, commands

if __name__ == "__main__":
    if sys.argv[1:2] == ["billing"]:
        billing.main(sys.argv[2:])
    else:
        commands.main()
