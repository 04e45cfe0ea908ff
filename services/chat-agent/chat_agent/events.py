"""The events that the chat-agent publishes."""

from datetime import UTC, datetime
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import JsonValue
from servicekit.events.outbox import Event, publish
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.clients.billing import RunRef
from chat_agent.schemas import ModelUsage, Usage

# Each has a consumer group, created before the first event is published.
READERS = ("billing-webhook", "auth")


class EndUserErased(Event):
    """An application, or an admin, has erased an end user; what is counted of them becomes anonymous."""

    type: ClassVar[str] = "chat.end_user.erased.v1"

    tenant_id: UUID
    user_id: str


class AuditRecorded(Event):
    """Somebody changed a tenant's agent, or a guardrail refused a text; auth stores it in the audit log."""

    type: ClassVar[str] = "chat.audit.recorded.v1"

    tenant_id: UUID
    action: str
    # A person or a machine of the tenant.
    actor: str | None
    session_id: str | None
    request_id: str | None
    detail: dict[str, JsonValue]


class RunCompleted(Event):
    """A run has ended, and this is its usage."""

    type: ClassVar[str] = "chat.run.completed.v1"

    run_id: UUID
    conversation_id: UUID
    tenant_id: UUID
    user_id: str
    # The agent that has answered, and the one that the run was started with.
    agent: str
    initial_agent: str
    status: Literal["completed", "failed", "cancelled"]
    # 0 for a call of a model that is no run, such as embeddings.
    messages: int = 1
    usage: list[ModelUsage]
    estimated: bool
    started_at: datetime
    completed_at: datetime


def publish_call(
    session: AsyncSession, call: RunRef, conversation_id: UUID, usage: Usage, started_at: datetime
) -> None:
    """Publish the usage of a call of a model that is no run: it has an id, and no message of a person."""
    completed = RunCompleted(
        run_id=call.id,
        conversation_id=conversation_id,
        tenant_id=call.tenant_id,
        user_id=call.user_id,
        agent=call.agent,
        initial_agent=call.agent,
        status="completed",
        messages=0,
        usage=usage.models,
        estimated=usage.estimated,
        started_at=started_at,
        completed_at=datetime.now(UTC),
    )
    publish(session, completed, tenant_id=call.tenant_id, subject=str(call.id))
