"""`python -m billing_webhook stripe setup`."""

import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import stripe
import typer
from servicekit.command_errors import fail
from servicekit.http.client import HttpPool
from stripe import StripeClient

from billing_webhook import stripe_client
from billing_webhook.stripe_setup import env_file
from billing_webhook.stripe_setup.products import Setup, StripeSetupFailed, set_up
from billing_webhook.stripe_setup.webhooks import set_up_webhooks

LIVE_PREFIXES = ("sk_live_", "rk_live_")


async def run_setup(  # noqa: PLR0913, PLR0917  # what the command is given
    api_key: str,
    api_base: str,
    webhook_url: str | None,
    webhook_secret: str,
    types: Iterable[str],
    file: Path,
) -> list[str]:
    """Set up Stripe, write the variables, and return what has changed."""
    require_usable(api_key, webhook_url)
    pool = HttpPool()
    try:
        client = stripe_client.connect(pool, api_key, api_base)
        setup = await everything(client, webhook_url, webhook_secret, types)
    except (stripe.StripeError, StripeSetupFailed) as error:
        fail(f"Stripe: {getattr(error, 'user_message', None) or error}")
    finally:
        await pool.aclose()
    # The new secrets first, then the old ones: what is on its way was signed with those.
    secrets = [*setup.webhook_secrets, *(one for one in webhook_secret.split(",") if one)]
    changes = list(setup.changes)
    if env_file.write(file, variables(api_key, secrets, setup)):
        changes.append(str(file))
    return changes


async def everything(
    client: StripeClient, webhook_url: str | None, webhook_secret: str, types: Iterable[str]
) -> Setup:
    """Set up what is for sale and, if it has an address, the webhook."""
    setup = await set_up(client)
    if webhook_url:
        await set_up_webhooks(client, setup, webhook_url, types, secrets_are_known=bool(webhook_secret))
    return setup


def variables(api_key: str, secrets: list[str], setup: Setup) -> dict[str, str]:
    """Return the variables with which the service uses what was set up."""
    price_map = json.dumps(setup.price_map, separators=(",", ":"))
    values = {"STRIPE_SECRET_KEY": api_key, "STRIPE_PRODUCT_PRICE_MAP": price_map, "ENABLE_BILLING": "true"}
    return {**values, **({"STRIPE_WEBHOOK_SECRET": ",".join(secrets)} if secrets else {})}


def require_usable(api_key: str, webhook_url: str | None) -> None:
    """Verify that the key is a secret one, and that live events go to an address with TLS."""
    if not api_key.startswith(("sk_", "rk_")):
        fail("The key must be a secret or restricted one: it begins with sk_ or rk_.")
    if webhook_url and urlsplit(webhook_url).scheme != "https" and api_key.startswith(LIVE_PREFIXES):
        fail("With a live key, the webhook's address must begin with https://.")


def report(changes: list[str]) -> None:
    """Print what has changed."""
    for change in changes or ["Nothing to change."]:
        typer.echo(change)
