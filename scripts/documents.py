"""Write every document that is made from the code, or check that each is up to date.

Contracts, permissions, errors, presets of guardrails, events of Stripe and the synchronous client in one
process, since to import five services takes seconds.
"""

import argparse
from collections.abc import Sequence

from scripts import contracts, errors, guardrail_presets, permissions, stripe_events, synchronous_client


def main(words: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when one is stale")
    options = ["--check"] if parser.parse_args(words).check else []
    for document in (contracts, permissions, errors, guardrail_presets, stripe_events, synchronous_client):
        document.main(options)


if __name__ == "__main__":
    main()
