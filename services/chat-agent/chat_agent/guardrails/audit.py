"""What belongs in a tenant's audit log of its guardrails."""

from uuid import UUID

from pydantic import JsonValue
from servicekit.auth.end_users import application_of
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent import audit

ACTION = "chat_guardrail_triggered"


def record_triggered(
    session: AsyncSession, tenant_id: UUID, user_id: str, session_id: str | None, **detail: JsonValue
) -> None:
    """Record that a guardrail has refused a message or ended a run, if the transaction commits.

    `detail` names the agent, the guardrail and its stage, and never the text.
    """
    # The application: auth does not know its end users.
    audit.record(session, tenant_id, application_of(user_id), session_id, ACTION, **detail)
