"""A new tenant begins with the free plan, or with the trial of the plan that BILLING_SIGNUP_PLAN names.

The plan is a row at once. The trial is a command that the worker sends, so that Stripe being down delays it
and loses nothing.
"""

from servicekit.database import wake_on_commit
from servicekit.events.outbox import ReceivedEvent
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.audit import Actor
from billing_webhook.models import Command
from billing_webhook.received_events import TenantCreated
from billing_webhook.subscriptions import commands, sync


async def begin(db: AsyncSession, received: ReceivedEvent, signup_plan: str | None = None) -> None:
    """Assign a new tenant its plan; one that has a subscription already is left alone."""
    tenant_id = TenantCreated.model_validate(received.data).tenant_id
    if not await sync.ensure_free(db, tenant_id) or signup_plan is None:
        return
    arguments = {
        "plan_code": signup_plan,
        "seat_count": 1,
        "billing_email": None,
        "auto_renew": True,
    }
    system = Actor(subject=None)
    command = await commands.store(db, tenant_id, system, "start", arguments, f"signup:{tenant_id}")
    command.next_attempt_at = func.now()
    wake_on_commit(db, Command.__tablename__)
