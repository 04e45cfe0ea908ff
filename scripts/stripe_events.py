"""Write docs/billing/events.md: which type of event of Stripe has which effect, out of the handlers."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from billing_webhook.stripe_events.handlers import HANDLERS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "billing" / "events.md"
INTRODUCTION = """\
# Events of Stripe and their effects

What the webhook stores and a handler then processes ([replay](replay.md)). A thin event has the type of its
snapshot twin with `v1.` before it, and the same effect. Every other type is stored as `ignored_type`.

Written by `make contracts` from the handlers of billing-webhook.
"""


def page() -> str:
    """Return the whole page (Markdown)."""
    return "\n".join([INTRODUCTION, "| type | handler | effect |", "|---|---|---|", *sorted(rows()), ""])


def rows() -> Iterator[str]:
    """Yield a row for each type and handler."""
    for name, handler in HANDLERS.items():
        for type_, effect in handler.effects.items():
            yield f"| `{type_}` | `{name}` | {effect} |"


def main(words: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the page is stale")
    if not parser.parse_args(words).check:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit("docs/billing/events.md does not match the code. Run make contracts.")


if __name__ == "__main__":
    main()
