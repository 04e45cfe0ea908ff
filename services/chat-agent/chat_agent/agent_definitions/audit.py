"""What belongs in a tenant's audit log of its agents: published with the change, and stored by auth."""

from enum import StrEnum

from pydantic import JsonValue
from servicekit import context
from servicekit.auth.tokens import Principal
from servicekit.events import outbox
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.events import AuditRecorded


class AuditAction(StrEnum):
    """What was done."""

    SAVED = "chat_agent_draft_saved"
    PUBLISHED = "chat_agent_published"
    ROLLED_BACK = "chat_agent_rolled_back"
    DELETED = "chat_agent_deleted"


def record(
    session: AsyncSession, caller: Principal, action: AuditAction, agent: str, **detail: JsonValue
) -> None:
    """Record an action in the tenant's audit log if, and only if, the transaction commits.

    `detail` holds no text that somebody has written: the log leaves the machine.
    """
    assert caller.tenant_id  # noqa: S101  # the token of a member has one
    event = AuditRecorded(
        tenant_id=caller.tenant_id,
        action=action.value,
        actor=caller.subject,
        session_id=caller.session_id,
        request_id=context.request_id(),
        detail={"agent": agent, **detail},
    )
    outbox.publish(session, event, tenant_id=caller.tenant_id, subject=f"tenant:{caller.tenant_id}")
