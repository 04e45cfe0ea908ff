"""A tenant's customer at Stripe."""

from typing import Any
from uuid import UUID

import stripe
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.models import Command, Customer
from billing_webhook.services import BillingServices
from billing_webhook.subscriptions import sync
from billing_webhook.subscriptions.errors import CustomerNotFound
from billing_webhook.subscriptions.state import metadata


async def find(db: AsyncSession, tenant_id: UUID) -> Customer | None:
    """Return a tenant's customer, if there is one."""
    query = select(Customer).where(Customer.tenant_id == tenant_id, Customer.deleted_at.is_(None))
    found: Customer | None = await db.scalar(query)
    return found


async def require(db: AsyncSession, tenant_id: UUID) -> Customer:
    """Return a tenant's customer; raises CustomerNotFound."""
    if (customer := await find(db, tenant_id)) is None:
        raise CustomerNotFound
    return customer


async def ensure(services: BillingServices, command: Command) -> str:
    """Return the id of the tenant's customer, which is created for the first command that needs it."""
    async with services.database.begin() as db:
        if stored := await find(db, command.tenant_id):
            return stored.stripe_customer_id
    customer = await find_at_stripe(services, command) or await create(services, command)
    async with services.database.begin() as db:
        await sync.apply_customer(db, command.tenant_id, customer)
    return customer.id


async def create(services: BillingServices, command: Command) -> stripe.Customer:
    """Create the tenant's customer."""
    email = command.arguments.get("billing_email")
    params: Any = {"metadata": {"tenant_id": str(command.tenant_id)}, **({"email": email} if email else {})}
    return await services.stripe.v1.customers.create_async(
        params, {"idempotency_key": command.key("customer")}
    )


async def find_at_stripe(services: BillingServices, command: Command) -> stripe.Customer | None:
    """Return the customer that an earlier key may have created, by its address and metadata."""
    email = command.arguments.get("billing_email")
    if not command.generation or not email:
        return None
    found = await services.stripe.v1.customers.list_async({"email": email, "limit": 100})
    mine = (one for one in found.data if metadata(one).get("tenant_id") == str(command.tenant_id))
    return next(mine, None)


async def set_email(services: BillingServices, command: Command, customer_id: str) -> None:
    """Set the address that invoices go to, if the command names one."""
    if email := command.arguments.get("billing_email"):
        options = {"idempotency_key": command.key("email")}
        changed = await services.stripe.v1.customers.update_async(customer_id, {"email": email}, options)  # type: ignore[arg-type]  # a dict of the same keys
        async with services.database.begin() as db:
            await sync.apply_customer(db, command.tenant_id, changed)


def tags(command: Command) -> dict[str, str]:
    """Return the metadata by which what a command has created is found again."""
    plan = command.arguments["plan_code"]
    return {"tenant_id": str(command.tenant_id), "command_id": str(command.id), "plan_code": plan}
