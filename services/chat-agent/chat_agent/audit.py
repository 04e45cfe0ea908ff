"""What belongs in a tenant's audit log: published with the change, and stored by auth."""

from uuid import UUID

from pydantic import JsonValue
from servicekit import context
from servicekit.auth.tokens import Principal
from servicekit.events import outbox
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.events import AuditRecorded


def record_action(session: AsyncSession, caller: Principal, action: str, **detail: JsonValue) -> None:
    """Record what a member did if, and only if, the transaction commits.

    `detail` holds no text that somebody has written: the log leaves the machine.
    """
    assert caller.tenant_id  # noqa: S101  # the token of a member has one
    record(session, caller.tenant_id, caller.subject, caller.session_id, action, **detail)


def record(  # who did what
    session: AsyncSession,
    tenant_id: UUID,
    actor: str,
    session_id: str | None,
    action: str,
    **detail: JsonValue,
) -> None:
    """Record an action in the tenant's audit log if, and only if, the transaction commits."""
    event = AuditRecorded(
        tenant_id=tenant_id,
        action=action,
        actor=actor,
        session_id=session_id,
        request_id=context.request_id(),
        detail=detail,
    )
    outbox.publish(session, event, tenant_id=tenant_id, subject=f"tenant:{tenant_id}")
