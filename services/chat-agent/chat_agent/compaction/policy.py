"""When the history of a conversation is summarized, as an agent's definition says."""

from typing import Annotated

from pydantic import ConfigDict, Field
from servicekit.schemas import RequestModel


class CompactionPolicy(RequestModel):
    """When a history is summarized, and how much of it the agent reads as it was."""

    model_config = ConfigDict(frozen=True)

    share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.7,
        description="It is due from this share of the model's context, or of the items that a run reads.",
    )
    tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = Field(
        None, description="It is due from so many tokens of a call, too; a share of a large context is a lot."
    )
    keep_turns: Annotated[int, Field(ge=1, le=50)] = Field(
        4, description="How many of the newest turns stay as they are."
    )

    def is_due(self, tokens: int, context_length: int | None) -> bool:
        """Return whether a summary is due after a call of so many tokens, of a model with such a context."""
        limits = [self.tokens, context_length and self.share * context_length]
        return any(limit is not None and tokens >= limit for limit in limits)
