"""What the chat-agent tells the other services."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from servicekit.events.outbox import Event

from chat_agent.schemas import ModelUsage

# Whoever reads our stream; a group is made for each before the first event is told.
READERS = ("billing-webhook",)


class RunCompleted(Event):
    """A run is over, however it ended, and this is what it used."""

    type: ClassVar[str] = "chat.run.completed.v1"

    run_id: UUID
    conversation_id: UUID
    tenant_id: UUID
    user_id: str
    agent: str
    status: Literal["completed", "failed", "cancelled"]
    usage: list[ModelUsage]
    estimated: bool
    started_at: datetime
    completed_at: datetime
