"""Who may change a subscription, and with what it is changed."""

import time
from typing import Annotated

from fastapi import Depends, Header, Request
from servicekit.auth.tokens import Principal

from billing_webhook.dependencies import BillingManager
from billing_webhook.errors import StripeNotConfigured
from billing_webhook.services import BillingServices
from billing_webhook.subscriptions.errors import InsufficientUserAuthentication, PeopleOnly

MINUTE = 60


async def get_services(request: Request) -> BillingServices:
    """Return what commands are executed with; raises StripeNotConfigured."""
    services: BillingServices | None = request.app.state.billing
    if services is None:
        raise StripeNotConfigured
    return services


async def require_recent_auth(request: Request, caller: BillingManager) -> Principal:
    """Verify that a person has proved who they are within AUTH_STEP_UP_MINUTES.

    Auth writes into the token when that was; an account with a second factor has proved it then. Raises
    PeopleOnly or InsufficientUserAuthentication.
    """
    if caller.is_service:
        raise PeopleOnly
    max_age = request.app.state.resources.settings.auth_step_up_minutes * MINUTE
    if caller.auth_time is None or caller.auth_time < time.time() - max_age:
        raise InsufficientUserAuthentication(max_age)
    return caller


Services = Annotated[BillingServices, Depends(get_services)]
RecentManager = Annotated[Principal, Depends(require_recent_auth)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Makes a retry safe: the same key and body have one effect.",
    ),
]
