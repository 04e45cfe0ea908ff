"""What the routes of billing have in common."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request
from servicekit.auth.dependencies import Caller, require
from servicekit.auth.tokens import Principal
from stripe import StripeClient

from billing_webhook.errors import BillingDisabled, TenantNotFound
from billing_webhook.stripe_client import require_client

BillingReader = Annotated[Principal, require("billing:read")]
BillingManager = Annotated[Principal, require("billing:manage")]


async def require_billing(request: Request) -> None:
    """Verify that ENABLE_BILLING is on; raises BillingDisabled."""
    if not request.app.state.resources.settings.enable_billing:
        raise BillingDisabled


billing_enabled: Any = Depends(require_billing)


async def get_stripe(request: Request) -> StripeClient:
    """Return the client of Stripe; raises StripeNotConfigured."""
    return require_client(request.app.state.stripe)


Stripe = Annotated[StripeClient, Depends(get_stripe)]


async def require_own_tenant(tenant_id: UUID, caller: Caller) -> None:
    """Verify that the tenant of the path is the token's; raises TenantNotFound.

    It comes before permission and body: about another tenant a caller learns nothing, not even what is wrong
    with the request.
    """
    if tenant_id != caller.tenant_id:
        raise TenantNotFound


# Of every router and route below `/tenants/{tenant_id}`.
own_tenant: Any = Depends(require_own_tenant)
