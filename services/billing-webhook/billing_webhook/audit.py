"""What belongs in a tenant's audit log: published with the change that it describes, and stored by auth."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from uuid import UUID

from pydantic import JsonValue
from servicekit import context
from servicekit.auth.tokens import Principal
from servicekit.events import outbox
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.events import AuditRecorded


class AuditAction(StrEnum):
    """What was done."""

    SUBSCRIPTION_STARTED = "billing_subscription_started"
    SUBSCRIPTION_CHANGED = "billing_subscription_changed"
    SUBSCRIPTION_CANCELED = "billing_subscription_canceled"
    SUBSCRIPTION_PAUSED = "billing_subscription_paused"
    SUBSCRIPTION_RESUMED = "billing_subscription_resumed"
    CHECKOUT_CREATED = "billing_checkout_created"
    PORTAL_OPENED = "billing_portal_opened"
    BUDGET_CREATED = "billing_budget_created"
    BUDGET_CHANGED = "billing_budget_changed"
    BUDGET_DELETED = "billing_budget_deleted"
    USAGE_REPORTED = "billing_usage_reported"
    USAGE_REVERSED = "billing_usage_reversed"
    GRANT_CREATED = "billing_grant_created"
    GRANT_REVOKED = "billing_grant_revoked"
    EVENTS_REPLAYED = "billing_events_replayed"
    METER_EVENT_SETTLED = "billing_meter_event_settled"


TENANT = "/api/v1/billing/tenants/{tenant_id}"
# What each route that changes money or limits writes; docs/permissions.md shows it.
ROUTES: Mapping[str, AuditAction] = {
    f"POST {TENANT}/subscription": AuditAction.SUBSCRIPTION_STARTED,
    f"PATCH {TENANT}/subscription": AuditAction.SUBSCRIPTION_CHANGED,
    f"POST {TENANT}/subscription/cancel": AuditAction.SUBSCRIPTION_CANCELED,
    f"POST {TENANT}/subscription/pause": AuditAction.SUBSCRIPTION_PAUSED,
    f"POST {TENANT}/subscription/resume": AuditAction.SUBSCRIPTION_RESUMED,
    f"POST {TENANT}/checkout-sessions": AuditAction.CHECKOUT_CREATED,
    f"POST {TENANT}/portal-sessions": AuditAction.PORTAL_OPENED,
    f"POST {TENANT}/budgets": AuditAction.BUDGET_CREATED,
    f"PATCH {TENANT}/budgets/{{budget_id}}": AuditAction.BUDGET_CHANGED,
    f"DELETE {TENANT}/budgets/{{budget_id}}": AuditAction.BUDGET_DELETED,
    f"POST {TENANT}/usage": AuditAction.USAGE_REPORTED,
    f"POST {TENANT}/usage/batch": AuditAction.USAGE_REPORTED,
    f"POST {TENANT}/usage/records/{{record_id}}/reverse": AuditAction.USAGE_REVERSED,
}


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who does something, in which session and request; an operator and the system have no subject."""

    subject: str | None
    session_id: str | None = None
    request_id: str | None = None

    @classmethod
    def of(cls, caller: Principal) -> Self:
        """Return the caller of the current request."""
        return cls(subject=caller.subject, session_id=caller.session_id, request_id=context.request_id())

    @property
    def is_user(self) -> bool:
        """Return whether it is a person of the tenant."""
        return self.subject is not None and self.subject.startswith("user:")


OPERATOR = Actor(subject=None)


def record(
    db: AsyncSession, actor: Actor, action: AuditAction, *, tenant_id: UUID, **detail: JsonValue
) -> None:
    """Record an action in the tenant's audit log if, and only if, the transaction commits.

    `detail` holds no secret, no address and no name.
    """
    source: dict[str, JsonValue] = {"source": "operator"} if actor is OPERATOR else {}
    event = AuditRecorded(
        tenant_id=tenant_id,
        action=action.value,
        actor=actor.subject,
        session_id=actor.session_id,
        request_id=actor.request_id,
        detail={**source, **detail},
    )
    outbox.publish(db, event, tenant_id=tenant_id, subject=f"tenant:{tenant_id}")
