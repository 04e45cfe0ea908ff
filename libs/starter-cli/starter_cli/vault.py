"""Vault of a stack: the sandbox's vouches for service accounts, unless there is another."""

import os
from pathlib import Path

from starter_cli.paths import Layout

CATALOGUE = Path(__file__).parent / "service-accounts.yaml"
KEY = "auth-service"
# The sandbox's Vault takes every token.
TOKEN = "sandbox"  # noqa: S105  # see above


def uses_sandbox() -> bool:
    """Return whether the sandbox's Vault is used: not with the address of another."""
    return not os.environ.get("VAULT_ADDR")


def sandbox_url(layout: Layout) -> str:
    """Return the address of the sandbox's Vault."""
    return f"{layout.sandbox_url}/vault"


def default_variables(layout: Layout) -> dict[str, str]:
    """Return how auth verifies what the sandbox's Vault has signed."""
    if not uses_sandbox():
        return {}
    return {
        "VAULT_VERIFY_ENABLED": "true",
        "VAULT_ADDR": sandbox_url(layout),
        "VAULT_TOKEN": TOKEN,
        "VAULT_TRANSIT_KEY": KEY,
        "AUTH_SERVICE_ACCOUNTS_FILE": str(CATALOGUE),
    }
