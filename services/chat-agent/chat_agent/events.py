"""The events that the chat-agent publishes."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import JsonValue
from servicekit.events.outbox import Event

from chat_agent.schemas import ModelUsage

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
