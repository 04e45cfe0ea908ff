"""Break the stack on purpose, on this machine, and see that nothing is lost.

`runs` starts a stack of its own in a temporary folder, with two chat-agents and a slow sandbox, and many
clients that each hear one run. Meanwhile parts are killed (kill -9) one after the other, and clients come
back with Last-Event-ID until they have heard the end. Then all that was heard is compared with what the
model sent, what was kept and what was counted. Exit status 1 when anything is lost.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from chaos import runs
from chaos.runs import Plan
from rich.console import Console

MOST_RUNS, LONGEST = 2_000, 1_800


def between(lowest: int, highest: int) -> Callable[[str], int]:
    """Make a reader of bounded numbers."""

    def number(text: str) -> int:
        if lowest <= (read := int(text)) <= highest:
            return read
        raise argparse.ArgumentTypeError(f"must be from {lowest} to {highest}")

    return number


def main(words: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "runs",
        help="kill parts while many runs are heard",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = command.add_argument
    usual = Plan()
    add("--runs", type=between(1, MOST_RUNS), default=usual.runs, help="how many at once")
    add("--seconds", type=between(1, LONGEST), default=usual.seconds, help="how long the longest run speaks")
    add("--rate", type=float, default=usual.rate, help="the model's tokens per second, for each run")
    add("--kills", default=",".join(usual.kills), help="parts to kill, in this order; empty for none")
    add("--pause", type=float, default=usual.pause, help="seconds before each kill")
    add("--timeout", type=between(1, LONGEST), default=usual.timeout, help="when to hear no longer")
    add("--keep", action="store_true", help="keep the folder with the logs")
    given = vars(parser.parse_args(words))
    kills = [part for part in given.pop("kills").split(",") if part]
    sys.exit(runs.main(Plan(**given, kills=kills), Console()))


if __name__ == "__main__":
    main()
