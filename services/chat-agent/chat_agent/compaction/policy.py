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
    keep_turns: Annotated[int, Field(ge=1, le=50)] = Field(
        4, description="How many of the newest turns stay as they are."
    )
