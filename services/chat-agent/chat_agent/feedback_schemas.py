"""The schemas of feedback on runs."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from servicekit.schemas import Cursor, Limit, RequestModel

from chat_agent.schemas import Moment, storable

Rating = Literal["up", "down"]
Reason = Annotated[str, StringConstraints(pattern="^[a-z0-9_]{1,40}$")]
Comment = Annotated[str, StringConstraints(min_length=1, max_length=4000), AfterValidator(storable)]
Correction = Annotated[str, StringConstraints(min_length=1, max_length=8000), AfterValidator(storable)]


class NewFeedback(RequestModel):
    """What a person says of an answer."""

    rating: Rating
    reasons: Annotated[list[Reason], Field(max_length=10)] = Field(
        [], description="Words that the frontend chooses.", examples=[["incorrect", "too_long"]]
    )
    comment: Comment | None = None
    correction: Correction | None = Field(None, description="What the answer should have been.")


class RunFeedback(BaseModel):
    """What was said of a run's answer, and of which agent's."""

    model_config = ConfigDict(from_attributes=True)

    run_id: UUID
    user_id: str
    agent: str
    version: int | None = Field(None, description="Of the agent; null for one of the service.")
    digest: str | None = None
    rating: Rating
    reasons: list[str]
    comment: str | None
    correction: str | None
    created_at: datetime
    updated_at: datetime


class FeedbackFilter(BaseModel):
    """Filters of a tenant's feedback."""

    model_config = ConfigDict(extra="forbid")

    agent: Annotated[str, StringConstraints(max_length=64), AfterValidator(storable)] | None = None
    rating: Rating | None = None
    since: Moment | None = None
    until: Moment | None = None


class FeedbackPage(FeedbackFilter):
    """Filters and page of a list of feedback."""

    limit: Limit = 20
    cursor: Cursor = None


class FeedbackTotals(BaseModel):
    """What the feedback on one agent comes to."""

    agent: str
    up: int
    down: int
    corrections: int
    reasons: dict[str, int] = Field(description="How often each reason was given.")
