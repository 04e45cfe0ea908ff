"""The schemas of memories."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from servicekit.schemas import Cursor, Limit, RequestModel

from chat_agent.schemas import Moment, storable

MAX_TEXT = 1000

AgentName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]{0,49}$")]
Kind = Literal["fact", "preference", "summary"]
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT),
    AfterValidator(storable),
]


def in_future(moment: datetime) -> datetime:
    """Refuse a moment that has passed."""
    if moment <= datetime.now(UTC):
        raise ValueError("must be in the future")
    return moment


Expiry = Annotated[Moment, AfterValidator(in_future)]


class NewMemory(RequestModel):
    """What a person wants agents to know."""

    text: Text
    kind: Kind = "fact"
    agent: AgentName | None = Field(
        None, description="The agent that alone reads it; without one, all that read the person's memories."
    )
    expires_at: Expiry | None = None


class MemoryCorrection(RequestModel):
    """What is right instead; members that are left out stay as they are."""

    text: Text | None = None
    kind: Kind | None = None
    expires_at: Expiry | None = None


class StoredMemory(BaseModel):
    """A memory, and where it is from."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    text: str
    kind: Kind
    agent: str | None
    source_run: UUID | None = Field(
        description="The run in which an agent noted it; of what the person has written themselves, none."
    )
    source_conversation: UUID | None
    created_at: datetime
    last_used_at: datetime | None = Field(description="When an agent recalled it.")
    expires_at: datetime | None
    superseded_by: UUID | None = Field(description="The memory that is right instead.")


class MemoryPage(BaseModel):
    """Filters and page of a list of memories."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind | None = None
    include_superseded: bool = False
    limit: Limit = 20
    cursor: Cursor = None
