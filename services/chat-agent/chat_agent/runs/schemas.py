"""The schemas of runs: their answers, approvals and tool calls, and lists of them."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    computed_field,
)
from servicekit.schemas import Cursor, Limit, RequestModel, max_length

from chat_agent.clients.billing import ExceededQuota
from chat_agent.runs.tool_errors import INTERNAL_ERROR, MESSAGES
from chat_agent.schemas import NESTED, AgentVersion, Moment, SignIn, Stage, Usage, storable, storable_json

# Members of the arguments of a tool.
MAX_ARGUMENTS = 200
Status = Literal["queued", "running", "waiting", "completed", "failed", "cancelled"]


class Approval(BaseModel):
    """A tool call that a person has to allow."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    call_id: str
    agent: str
    name: str
    arguments: str
    status: str
    reason: str | None
    decided_by: str | None
    edited_arguments: str | None = Field(
        None, description="What the call is executed with, where the person has changed it."
    )
    sign_in: SignIn | None = Field(None, description="Where the person has to sign in first.")
    parent_call_id: str | None = Field(None, description=NESTED)
    created_at: datetime
    decided_at: datetime | None


class ToolCallRecord(BaseModel):
    """A call of a tool by a run; secrets in its arguments are masked."""

    call_id: str
    agent: str | None
    parent_call_id: str | None = Field(None, description=NESTED)
    name: str
    arguments: str
    status: Literal["running", "interrupted", "completed", "failed", "timed_out"] = Field(
        description="`interrupted`: the run ended before the call did."
    )
    error: str | None = Field(
        description="Why it failed: a code, which is stable.", examples=["tool_timed_out"]
    )
    attempt: int = Field(description="How often it was begun.")
    approved_by: str | None = Field(description="Who approved it, where that was necessary.")
    output_bytes: int | None
    duration_ms: int | None
    begun_at: datetime
    ended_at: datetime | None

    @computed_field
    def error_detail(self) -> str | None:
        """Why it failed, for people."""
        return None if self.error is None else MESSAGES.get(self.error, MESSAGES[INTERNAL_ERROR])


class ChatAnswer(BaseModel):
    """The whole answer of one turn."""

    response: str
    conversation_id: UUID
    run_id: UUID
    agent_used: str
    handoff_occurred: bool
    usage: Usage
    metadata: dict[str, JsonValue]
    approvals: list[Approval] = Field([], description="The tool calls that the run waits for, with 202.")


class RunSummary(BaseModel):
    """A run in a list: what it was and took, not what was said in it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    user_id: str
    conversation_id: UUID
    agent: str
    model: str
    status: str
    final_agent: str | None
    handoffs: list[str]
    agent_versions: list[AgentVersion] = Field(
        [], description="The version of each agent that it reaches, from its beginning to its end."
    )
    usage: Usage
    cost: int | None = Field(description="In millionths of a US dollar; null where a price is not known.")
    error_code: str | None
    error_detail: str | None
    quota: ExceededQuota | None = Field(None, description="The limit that ended it.")
    guardrail: str | None = Field(None, description="The guardrail that ended it.")
    stage: Stage | None = Field(None, description="The stage of this guardrail.")
    trace_id: str | None
    superseded: bool = Field(description="Whether an edit or a regeneration has superseded its turn.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @computed_field
    def duration_ms(self) -> int | None:
        """How long it took, waiting for a person included."""
        if self.started_at is None or self.ended_at is None:
            return None
        return round((self.ended_at - self.started_at).total_seconds() * 1000)


class Run(RunSummary):
    """A run, as its owner sees it."""

    message: str
    output: str | None
    waiting_until: datetime | None


class RunDetail(Run):
    """A run with its approvals."""

    approvals: list[Approval] = []


class Answer(RequestModel):
    """A decision about a tool call."""

    approve: bool
    reason: Annotated[str, StringConstraints(max_length=1000), AfterValidator(storable)] | None = Field(
        None, description="The agent reads it when the call is rejected."
    )
    arguments: (
        Annotated[
            dict[str, JsonValue],
            Field(max_length=MAX_ARGUMENTS),
            BeforeValidator(max_length(MAX_ARGUMENTS)),
            AfterValidator(storable_json),
        ]
        | None
    ) = Field(None, description="What to call the tool with, in place of the agent's arguments.")


class RunFilter(BaseModel):
    """Filters of a list of runs."""

    model_config = ConfigDict(extra="forbid")

    scope: Literal["me", "tenant"] = Field("me", description="`tenant`: everybody's; for owners and admins.")
    user_id: Annotated[str, StringConstraints(max_length=200), AfterValidator(storable)] | None = None
    conversation_id: UUID | None = None
    agent: Annotated[str, StringConstraints(max_length=64), AfterValidator(storable)] | None = None
    status: Annotated[list[Status], Field(max_length=6)] = Field(
        [],
        description="One, or several that are repeated; without any, all. Unfinished runs: "
        "`status=queued&status=running&status=waiting`.",
    )
    since: Moment | None = None
    until: Moment | None = None


class RunPage(RunFilter):
    """Filters and page of a list of runs."""

    limit: Limit = 20
    cursor: Cursor = None
    include_superseded: bool = Field(
        False, description="Include runs whose turns an edit or a regeneration has superseded."
    )


class RunTotals(BaseModel):
    """What runs have used and cost, by model and status."""

    model: str
    status: str
    runs: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: int = Field(description="In millionths of a US dollar, of the runs whose price is known.")
    unpriced_runs: int
    duration_ms: int
