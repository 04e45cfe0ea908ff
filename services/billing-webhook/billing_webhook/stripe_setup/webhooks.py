"""Creates the endpoints that Stripe sends events to, or reuses them, with the SDK's version of the API.

Events of version 1 come as snapshots of their objects; those of version 2 are thin and need a destination of
their own, to the same address.
"""

from collections.abc import Iterable
from typing import Any

import stripe
from stripe import StripeClient

from billing_webhook.stripe_events.handlers import THIN
from billing_webhook.stripe_setup.products import OURS, Setup, has_tags

NAME = "Acme billing"


async def set_up_webhooks(
    client: StripeClient, setup: Setup, url: str, event_types: Iterable[str], *, secrets_are_known: bool
) -> None:
    """Have Stripe send events of these types to an address, and nothing else; raises StripeError.

    Stripe shows an endpoint's secret once: with `secrets_are_known` off, endpoints are created anew.
    """
    types = sorted(event_types)
    snapshots = [type_ for type_ in types if not type_.startswith(THIN)]
    await ensure_endpoint(client, setup, url, snapshots, secrets_are_known)
    if thin := [type_ for type_ in types if type_.startswith(THIN)]:
        await ensure_destination(client, setup, url, thin, secrets_are_known)


async def ensure_endpoint(
    client: StripeClient, setup: Setup, url: str, types: list[str], secrets_are_known: bool
) -> None:
    """Create or update the one endpoint for snapshots, of the SDK's version, which cannot change later."""
    endpoints = client.v1.webhook_endpoints
    existing = await endpoints.list_async({"limit": 100})
    ours = [one async for one in existing.auto_paging_iter() if one.url == url and has_tags(one, OURS)]
    usable = [one for one in ours if one.api_version == stripe.api_version and secrets_are_known][:1]
    if not usable:
        params: Any = {"url": url, "enabled_events": types, "description": NAME, "metadata": OURS}
        params["api_version"] = stripe.api_version
        created = await endpoints.create_async(params)
        setup.webhook_secrets.append(str(created.secret))
        setup.changes.append(f"webhook endpoint {created.id}")
    for one in ours:
        if one not in usable:
            await endpoints.delete_async(one.id)
            setup.changes.append(f"webhook endpoint {one.id}: deleted")
        elif set(one.enabled_events) != set(types) or one.status != "enabled":
            changed: Any = {"enabled_events": types, "disabled": False}
            await endpoints.update_async(one.id, changed)
            setup.changes.append(f"webhook endpoint {one.id}: its events")


async def ensure_destination(
    client: StripeClient, setup: Setup, url: str, types: list[str], secrets_are_known: bool
) -> None:
    """Create or update the one destination for thin events."""
    destinations = client.v2.core.event_destinations
    existing = await destinations.list_async({"include": ["webhook_endpoint.url"]})
    ours = [
        one async for one in existing.auto_paging_iter() if has_tags(one, OURS) and address_of(one) == url
    ]
    usable = ours[:1] if secrets_are_known else []
    if not usable:
        params: Any = {
            "name": NAME,
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": types,
            "webhook_endpoint": {"url": url},
            "metadata": OURS,
            "include": ["webhook_endpoint.signing_secret"],
        }
        created = await destinations.create_async(params)
        secret = created.webhook_endpoint and created.webhook_endpoint.signing_secret
        setup.webhook_secrets.append(str(secret))
        setup.changes.append(f"event destination {created.id}")
    for one in ours:
        if one not in usable:
            await destinations.delete_async(one.id)
            setup.changes.append(f"event destination {one.id}: deleted")
        elif set(one.enabled_events) != set(types):
            await destinations.update_async(one.id, {"enabled_events": types})
            setup.changes.append(f"event destination {one.id}: its events")


def address_of(destination: Any) -> str | None:
    """Return where a destination sends its events."""
    endpoint = destination.webhook_endpoint
    return None if endpoint is None else endpoint.url
