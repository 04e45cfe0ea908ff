"""The events of a run as clients read them, for the service's OpenAPI document; a test compares real ones."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, Json, RootModel

from chat_agent.clients.billing import ExceededQuota
from chat_agent.schemas import NESTED, SignIn, Stage, Usage


class StartedItem(BaseModel):
    """An item that begins; its content follows."""

    id: str = Field(examples=["item_1"])
    kind: Literal["message", "reasoning", "tool_call", "handoff"]


class Citation(BaseModel):
    """A link of a message to a page that a tool has found."""

    url: str
    title: str
    start: int = Field(description="Where the link begins in the text.")
    end: int


class MessageItem(BaseModel):
    """A message to the user."""

    id: str
    kind: Literal["message"]
    text: str
    role: Literal["assistant"] = "assistant"
    refusal: bool = Field(False, description="The model refused to answer.")
    incomplete: bool = Field(False, description="The message was cut off.")
    citations: list[Citation] = Field([], description="The links to pages that tools have found.")


class ReasoningItem(BaseModel):
    """What the model thought, or a summary of it."""

    id: str
    kind: Literal["reasoning"]
    text: str


class FunctionCall(BaseModel):
    """A call of a function, with its arguments as JSON."""

    call_id: str
    name: str
    arguments: str


class ToolCallItem(FunctionCall):
    """A call of a tool."""

    id: str
    kind: Literal["tool_call"]


class HandoffItem(FunctionCall):
    """A call that hands the conversation to another agent."""

    id: str
    kind: Literal["handoff"]


class ToolOutputItem(BaseModel):
    """The output of a tool."""

    id: str
    kind: Literal["tool_output"]
    call_id: str
    output: str
    failed: bool = Field(False, description="The tool raised an error or took too long.")


class EventOfRun(BaseModel):
    """What every event of the log has."""

    seq: int = Field(ge=1, description="1, 2, 3 ... without holes.")
    run_id: UUID
    conversation_id: UUID
    at: datetime


class UnfinishedRun(BaseModel):
    """The run that works, or waits for an approval."""

    id: UUID
    status: Literal["queued", "running", "waiting"]


class RunQueuedEvent(BaseModel):
    """The run waits for its turn; not in the log, and so without a number."""

    type: Literal["run.queued"]
    run_id: UUID
    conversation_id: UUID
    ahead: int = Field(ge=1, description="How many runs are before it.")
    active_run: UnfinishedRun


class RunStartedEvent(EventOfRun):
    """The run started; the first event."""

    type: Literal["run.started"]
    agent: str
    model: str


class RunResumedEvent(EventOfRun):
    """Another attempt continues the run."""

    type: Literal["run.resumed"]
    withdrawn: list[str] = Field(description="Items that are generated again.")
    reason: Literal["worker_lost", "handed_over", "answered"]


class ItemStartedEvent(EventOfRun):
    """An item begins."""

    type: Literal["item.started"]
    item: StartedItem


class ItemCompletedEvent(EventOfRun):
    """An item is complete, or was cut off."""

    type: Literal["item.completed"]
    item: Annotated[
        MessageItem | ReasoningItem | ToolCallItem | HandoffItem | ToolOutputItem,
        Field(discriminator="kind"),
    ]


class TokenLogprob(BaseModel):
    """The log probability of a token."""

    token: str
    logprob: float
    bytes: list[int]


class Logprob(TokenLogprob):
    """The log probability of a token that was chosen, and those of alternatives."""

    top_logprobs: list[TokenLogprob]


class MessageDeltaEvent(EventOfRun):
    """More text of a message."""

    type: Literal["message.delta"]
    item_id: str
    delta: str
    logprobs: list[Logprob] = Field([], description="Where the run's caller has requested them.")


class ReasoningDeltaEvent(EventOfRun):
    """More text of reasoning."""

    type: Literal["reasoning.delta"]
    item_id: str
    delta: str


class CallOfAgent(BaseModel):
    """Who has made a call, where it is not the run's own agent."""

    agent: str | None = Field(None, description="The agent that has made a nested call.")
    parent_call_id: str | None = Field(None, description=NESTED)


class ToolCalledEvent(EventOfRun, FunctionCall, CallOfAgent):
    """A tool is called; secrets are masked."""

    type: Literal["tool.called"]


class ToolOutputEvent(EventOfRun, CallOfAgent):
    """A tool returned; secrets are masked, and long outputs cut."""

    type: Literal["tool.output"]
    call_id: str
    name: str
    output: str
    failed: bool = Field(False, description="The tool raised an error or took too long.")


class AgentChangedEvent(EventOfRun):
    """An agent handed over to another."""

    type: Literal["agent.changed"]
    from_: str = Field(alias="from")
    to: str


class ModelFallbackEvent(EventOfRun):
    """A model does not answer, and another is called in its place; nothing was said yet."""

    type: Literal["model.fallback"]
    model: str
    fallback: str
    code: str = Field(examples=["model_unavailable", "model_rate_limited"])


class ApprovalRequiredEvent(EventOfRun, FunctionCall, CallOfAgent):
    """A person must decide on a call of a tool."""

    type: Literal["approval.required"]
    approval_id: UUID
    sign_in: SignIn | None = Field(None, description="Where the person has to sign in first.")


class RecalledMemory(BaseModel):
    """What is known of the person."""

    id: UUID
    kind: Literal["fact", "preference", "summary"]
    text: str


class MemoryRecalledEvent(EventOfRun):
    """An agent reads what is known of the person; it is not stored with the conversation."""

    type: Literal["memory.recalled"]
    agent: str
    memories: list[RecalledMemory]


class MemoryNotedEvent(EventOfRun):
    """An agent has noted what the person said."""

    type: Literal["memory.noted"]
    agent: str
    memory: RecalledMemory
    supersedes: UUID | None = Field(None, description="The memory that is not right any more.")


class HistoryCompactedEvent(EventOfRun):
    """The run is the first whose agent reads a new summary in place of the items that it stands for."""

    type: Literal["history.compacted"]
    summary_id: str = Field(description="Of the item of the conversation.")


class LastEvent(EventOfRun):
    """What every event has with which a stream ends."""

    output: str | None
    agent: str
    handoffs: list[str]
    usage: Usage
    tool_calls: list[FunctionCall] = Field([], description="Calls of the caller's tools, which it executes.")
    truncated: bool = Field(False, description="The answer was cut at a limit of tokens.")


class RunWaitingEvent(LastEvent):
    """The run waits for approvals; after the last decision its numbers continue."""

    type: Literal["run.waiting"]


class RunCompletedEvent(LastEvent):
    """The run is complete."""

    type: Literal["run.completed"]


class RunFailedEvent(LastEvent):
    """The run failed; `output` is the partial answer."""

    type: Literal["run.failed"]
    code: str
    detail: str | None
    quota: ExceededQuota | None = Field(None, description="The limit that was reached.")
    guardrail: str | None = Field(None, description="The guardrail that does not allow a text, or failed.")
    stage: Stage | None = Field(None, description="What it checked: the stage of the guardrail.")


class RunCancelledEvent(LastEvent):
    """The run was stopped; `output` is the partial answer."""

    type: Literal["run.cancelled"]
    code: str | None = Field(None, description="`rolled_back` where its items are deleted.")
    detail: str | None = None


class RunEvent(
    RootModel[
        Annotated[
            RunQueuedEvent
            | RunStartedEvent
            | RunResumedEvent
            | ItemStartedEvent
            | ItemCompletedEvent
            | MessageDeltaEvent
            | ReasoningDeltaEvent
            | ToolCalledEvent
            | ToolOutputEvent
            | AgentChangedEvent
            | ModelFallbackEvent
            | ApprovalRequiredEvent
            | MemoryRecalledEvent
            | MemoryNotedEvent
            | HistoryCompactedEvent
            | RunWaitingEvent
            | RunCompletedEvent
            | RunFailedEvent
            | RunCancelledEvent,
            Field(discriminator="type"),
        ]
    ]
):
    """An event of a run, told apart by its `type`."""


class RunStreamEvent(BaseModel):
    """An event of a run's stream as server-sent event; `event` is the `type` of its data."""

    id: str = Field(
        default_factory=str,
        pattern="^[1-9][0-9]*$",
        description="The `seq` of its data; `run.queued` has none.",
    )
    event: str = Field(examples=["run.started", "message.delta", "run.completed"])
    data: Json[RunEvent]
