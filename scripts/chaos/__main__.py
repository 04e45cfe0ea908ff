"""Break the stack on purpose, on this machine, and see that nothing is lost.

`runs` starts a stack of its own in a temporary folder, with two chat-agents and a slow sandbox, and many
clients that each stream one run: plain ones, and some with tools, MCP servers, memories, judges, or a model
that fails. Meanwhile parts are killed (kill -9), stopped, or stand still for longer than a lease (SIGSTOP),
Redis is emptied and Postgres takes no writes, one after the other, and clients come back with Last-Event-ID
until they have received the end. Then what was received is compared with what the model sent, which tools
were called, what is stored and what was counted. Exit status 1 when anything is lost.

`billing` sends the events of a Stripe of its own, some twice, some never and all in any order, and usage
records, while billing-webhook, Redis and Postgres are killed; what was never sent is fetched afterwards.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from scripts.chaos import billing, workload
from scripts.chaos.billing import BillingPlan
from scripts.chaos.faults import KINDS, ONLY_OF, Fault
from scripts.chaos.workload import Plan

MAX_RUNS, MAX_SECONDS = 2_000, 1_800


def bounded_int(lowest: int, highest: int) -> Callable[[str], int]:
    """Make a reader of bounded numbers."""

    def number(text: str) -> int:
        if lowest <= (read := int(text)) <= highest:
            return read
        raise argparse.ArgumentTypeError(f"must be from {lowest} to {highest}")

    return number


def parse_faults(words: str) -> list[Fault]:
    """Read a list of faults."""
    try:
        return [Fault.parse(fault) for fault in words.split(",") if fault]
    except ValueError:
        known = " or ".join(f"'{kind} {ONLY_OF.get(kind, 'PART')}'" for kind in KINDS)
        raise argparse.ArgumentTypeError(f"must be {known}, with commas between them") from None


def main(words: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "runs",
        help="kill and freeze parts while many runs are streamed",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = command.add_argument
    usual = Plan()
    add("--runs", type=bounded_int(1, MAX_RUNS), default=usual.runs, help="how many at once")
    add(
        "--seconds",
        type=bounded_int(1, MAX_SECONDS),
        default=usual.seconds,
        help="how long the longest run speaks",
    )
    add("--rate", type=float, default=usual.rate, help="the model's tokens per second, for each run")
    add(
        "--faults",
        type=parse_faults,
        default=",".join(map(str, usual.faults)),
        help="what happens, in this order",
    )
    add("--pause", type=float, default=usual.pause, help="seconds before each fault")
    add(
        "--timeout",
        type=bounded_int(1, MAX_SECONDS),
        default=usual.timeout,
        help="seconds until clients stop",
    )
    add("--keep", action="store_true", help="keep the folder with the logs")
    command.set_defaults(run=lambda **options: workload.main(Plan(**options), Console()))
    add_billing(commands)
    options = vars(parser.parse_args(words))
    sys.exit(options.pop("run")(**options))


def add_billing(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `billing`."""
    command = commands.add_parser(
        "billing",
        help="kill billing, Redis and Postgres while webhooks and usage records arrive",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    usual = BillingPlan()
    webhooks, usage = bounded_int(1, 50_000), bounded_int(1, 200_000)
    command.add_argument("--webhooks", type=webhooks, default=usual.webhooks, help="events at Stripe")
    command.add_argument("--usage", type=usage, default=usual.usage, help="usage records")
    command.add_argument("--pause", type=float, default=usual.pause, help="seconds before each fault")
    command.add_argument(
        "--timeout", type=bounded_int(1, MAX_SECONDS), default=usual.timeout, help="when to give up"
    )
    command.add_argument("--keep", action="store_true", help="keep the folder with the logs")
    command.set_defaults(run=lambda **options: billing.main(BillingPlan(**options), Console()))


if __name__ == "__main__":
    main()
