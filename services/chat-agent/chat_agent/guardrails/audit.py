"""What belongs in a tenant's audit log of its guardrails; auth stores it."""

from uuid import UUID

from pydantic import JsonValue
from servicekit import context
from servicekit.auth.end_users import application_of
from servicekit.events import outbox
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.events import AuditRecorded

ACTION = "chat_guardrail_triggered"


def record_triggered(
    session: AsyncSession, tenant_id: UUID, user_id: str, session_id: str | None, **detail: JsonValue
) -> None:
    """Record that a guardrail has refused a message or ended a run, if the transaction commits.

    `detail` names the agent, the guardrail and its stage, and never the text.
    """
    event = AuditRecorded(
        tenant_id=tenant_id,
        action=ACTION,
        # The application: auth does not know its end users.
        actor=application_of(user_id),
        session_id=session_id,
        request_id=context.request_id(),
        detail=detail,
    )
    outbox.publish(session, event, tenant_id=tenant_id, subject=f"tenant:{tenant_id}")
