"""Billing of a stack: whether it is on, and at which Stripe. Without a key of Stripe it is the sandbox's."""

import os
from collections.abc import Mapping

from dotenv import dotenv_values

from starter_cli.paths import Layout

SERVICE = "billing-webhook"
# The sandbox takes every key of test mode.
SANDBOX_KEY = "sk_test_sandbox"
# What the services read as false.
FALSE = frozenset({"0", "f", "false", "n", "no", "off"})


def setting(layout: Layout, name: str) -> str:
    """Return a variable of billing-webhook as the stack or the caller sets it; empty if neither does."""
    return layout.settings.get(SERVICE, {}).get(name) or os.environ.get(name, "")


def is_enabled(layout: Layout) -> bool:
    """Return whether billing is on, as it is unless ENABLE_BILLING says otherwise."""
    return setting(layout, "ENABLE_BILLING").lower() not in FALSE


def uses_sandbox(layout: Layout) -> bool:
    """Return whether the sandbox's Stripe is used: not with a key of one's own."""
    return is_enabled(layout) and not any(
        setting(layout, name) for name in ("STRIPE_SECRET_KEY", "STRIPE_API_BASE")
    )


def default_variables(layout: Layout) -> dict[str, str]:
    """Return the variables that turn billing on in a service."""
    return {"ENABLE_BILLING": "true", "ENABLE_BILLING_STREAM": "true"} if is_enabled(layout) else {}


def sandbox_variables(layout: Layout) -> Mapping[str, str]:
    """Return how billing-webhook reaches the sandbox's Stripe, with what `stripe setup` has written."""
    if not uses_sandbox(layout):
        return {}
    written = dotenv_values(layout.data_dir.stripe_variables)
    return {
        "STRIPE_SECRET_KEY": SANDBOX_KEY,
        "STRIPE_API_BASE": layout.stripe_url,
        **{name: value for name, value in written.items() if value},
    }
