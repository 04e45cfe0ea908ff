"""The schemas of the reports about an agent: how it is used, and what people say of its answers."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from servicekit.schemas import Cursor, Limit

from chat_agent.agent_reports.faults import Fault
from chat_agent.feedback_schemas import Rating, RunFeedback
from chat_agent.runs.queries import parse_cursor
from chat_agent.schemas import Moment

DEFAULT_PERIOD = timedelta(days=30)
OfKnownPrice = Field(
    description="In millionths of a US dollar, of the runs whose price is known; null where none is."
)


class Period(BaseModel):
    """What time a report is about."""

    model_config = ConfigDict(extra="forbid")

    since: Moment | None = Field(None, description="By default, 30 days ago.")
    until: Moment | None = None

    def begin(self) -> datetime:
        """Return the time at which the period begins."""
        return self.since or datetime.now(UTC) - DEFAULT_PERIOD


class AgentUsage(BaseModel):
    """What runs have come to."""

    runs: int
    handed_over: int = Field(description="Of the runs, those that began with another agent.")
    unfinished: int
    completed: int
    cancelled: int
    failed: int
    failures: dict[Fault, int] = Field(
        description="The failed runs by fault; `provider`: of the model, `service`: ours, `limit`: a budget."
    )
    error_codes: dict[str, int]
    conversations: int
    last_used: datetime | None
    duration_p50_ms: int | None = Field(description="Of completed runs, waiting for a person included.")
    duration_p95_ms: int | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Annotated[int | None, OfKnownPrice]
    unpriced_runs: int = Field(description="Ended runs whose price is not known; `cost` is without them.")


class VersionUsage(AgentUsage):
    """What the runs of one version of an agent have come to."""

    version: int | None = Field(description="Null for an agent of the service.")
    digest: str | None = Field(description="Null for runs from before versions were stored.")


AgentState = Literal["active", "draft"]


class AgentStatus(BaseModel):
    """What an agent has done in this tenant."""

    name: str
    status: AgentState = Field(description="`draft`: no version has been published.")
    last_used: datetime | None = Field(description="Also before the period.")
    total_conversations: int = Field(description="In the period.")
    since: datetime
    until: datetime | None
    complete: bool = Field(
        description="False where the period has too many runs: the newest are counted, from `since` on."
    )
    total: AgentUsage | None = Field(description="For owners and admins; null for others.")
    versions: list[VersionUsage] | None = Field(
        description="The version that was used last comes first. For owners and admins; null for others."
    )


class FeedbackQuery(Period):
    """The period of a report on feedback, and the page of its newest entries."""

    rating: Rating | None = None
    limit: Limit = 20
    cursor: Cursor = None

    def after(self) -> tuple[datetime, UUID] | None:
        """Return what the page comes after; raises InvalidCursor."""
        return None if self.cursor is None else parse_cursor(self.cursor)


class FeedbackCounts(BaseModel):
    """What feedback comes to."""

    up: int
    down: int
    comments: int
    corrections: int
    reasons: dict[str, int] = Field(description="How often each reason was given.")


class VersionFeedback(FeedbackCounts):
    """What the feedback on one version of an agent comes to."""

    version: int | None = Field(description="Null for an agent of the service.")
    digest: str | None = Field(description="Null for runs from before versions were stored.")


class AgentFeedback(BaseModel):
    """What people say of an agent's answers: counts, and the newest entries with text."""

    name: str
    since: datetime
    until: datetime | None
    total: FeedbackCounts
    versions: list[VersionFeedback]
    items: list[RunFeedback] = Field(description="With a comment or a correction, the newest first.")
    next_cursor: str | None


class CorrectedAnswer(BaseModel):
    """A question, its answer, and what a person says it should have been."""

    run_id: UUID
    agent: str = Field(description="The agent that the run began with.")
    message: str
    earlier_messages: int = Field(description="Runs of the conversation before this one.")
    output: str | None
    feedback: RunFeedback
