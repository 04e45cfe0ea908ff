"""What an agent may do with memories, as its definition says."""

from typing import Literal

from pydantic import ConfigDict, Field
from servicekit.schemas import RequestModel


class MemoryUse(RequestModel):
    """What the agent may do with what is known of a person."""

    model_config = ConfigDict(frozen=True)

    read: bool = Field(False, description="Memories that fit a message are added to what the model reads.")
    write: bool = Field(False, description="The agent has a tool, `remember`, for what a person says.")
    scope: Literal["person", "agent"] = Field(
        "person",
        description="`agent`: memories of its own; without it those that agents of the tenant share.",
    )

    @property
    def is_used(self) -> bool:
        """Whether the agent does anything with memories."""
        return self.read or self.write

    def owner(self, agent: str) -> str | None:
        """Return the agent whose memories they are, or none where they are shared."""
        return agent if self.scope == "agent" else None


NO_MEMORY = MemoryUse()
