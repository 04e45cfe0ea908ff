"""Who may change a subscription, and with what it is changed."""

import time
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from servicekit.auth.tokens import Principal
from servicekit.idempotency import REPLAYED

from billing_webhook.audit import Actor
from billing_webhook.dependencies import BillingManager
from billing_webhook.errors import StripeNotConfigured
from billing_webhook.models import Command, CommandState
from billing_webhook.services import BillingServices
from billing_webhook.subscriptions import commands, subscriptions
from billing_webhook.subscriptions.errors import InsufficientUserAuthentication, PeopleOnly
from billing_webhook.subscriptions.schemas import SubscriptionView

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


@dataclass(frozen=True)
class CommandRequest:
    """A request for a command to Stripe: whose, for which tenant, and with which key."""

    services: BillingServices
    caller: Principal
    tenant_id: UUID
    idempotency_key: str | None
    response: Response

    async def execute(self, kind: str, arguments: dict[str, Any]) -> Command:
        """Store a command and execute it; one that has succeeded before is not executed again.

        Raises what `commands` raises.
        """
        async with self.services.database.begin() as db:
            command = await commands.store(
                db, self.tenant_id, Actor.of(self.caller), kind, arguments, self.idempotency_key
            )
        if command.state == CommandState.SUCCEEDED:
            self.response.headers[REPLAYED] = "true"
        return await commands.execute(self.services, command)

    async def change(self, kind: str, arguments: dict[str, Any]) -> SubscriptionView:
        """Execute a command, and return the subscription as it is then."""
        await self.execute(kind, arguments)
        async with self.services.database.begin() as db:
            return await subscriptions.describe(db, self.tenant_id)


async def get_command_request(
    tenant_id: UUID, caller: RecentManager, services: Services, response: Response, key: IdempotencyKey = None
) -> CommandRequest:
    """Return the request for a command, by a person who may change the subscription."""
    return CommandRequest(services, caller, tenant_id, key, response)


CommandRequestDep = Annotated[CommandRequest, Depends(get_command_request)]
