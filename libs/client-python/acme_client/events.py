"""The events of a run: docs/reference/chat-agent.md says when each comes."""

from typing import Any, Literal, NotRequired, TypedDict

from acme_client.schemas import SignIn, Usage

ItemKind = Literal["message", "reasoning", "tool_call", "tool_output", "handoff"]


class Event(TypedDict):
    """What every event has."""

    run_id: str
    conversation_id: str


class Numbered(Event):
    """An event of the run's log; its number is what a stream resumes after."""

    seq: int
    at: str


class ActiveRun(TypedDict):
    """The run that others wait for."""

    id: str
    status: str


class RunQueued(Event):
    """The run waits for others of its conversation. It is not in the log, and has no number."""

    type: Literal["run.queued"]
    ahead: int
    active_run: ActiveRun


class RunStarted(Numbered):
    """The first event of the log."""

    type: Literal["run.started"]
    agent: str
    model: str


class RunResumed(Numbered):
    """Another attempt continues the run: remove the withdrawn items, which come again."""

    type: Literal["run.resumed"]
    withdrawn: list[str]
    reason: Literal["worker_lost", "handed_over", "answered"]


class Citation(TypedDict):
    """A link of a message to a page that a tool has found; where it stands in the text."""

    url: str
    title: str
    start: int
    end: int


class Item(TypedDict):
    """A part of the answer; what it has depends on its kind, and on whether it is complete."""

    id: str
    kind: ItemKind
    role: NotRequired[str]
    text: NotRequired[str]
    refusal: NotRequired[bool]
    citations: NotRequired[list[Citation]]
    call_id: NotRequired[str]
    name: NotRequired[str]
    arguments: NotRequired[str]
    output: NotRequired[str]
    # The tool raised an error or took too long.
    failed: NotRequired[bool]
    # It was cut off.
    incomplete: NotRequired[bool]


class ItemChanged(Numbered):
    """An item begins, or is complete."""

    type: Literal["item.started", "item.completed"]
    item: Item


class MessageDelta(Numbered):
    """More text of a message, with the log probabilities of its tokens where these were requested."""

    type: Literal["message.delta"]
    item_id: str
    delta: str
    logprobs: NotRequired[list[dict[str, Any]]]


class ReasoningDelta(Numbered):
    """More text of reasoning."""

    type: Literal["reasoning.delta"]
    item_id: str
    delta: str


class ToolCalled(Numbered):
    """The agent calls a tool; the arguments are JSON."""

    type: Literal["tool.called"]
    call_id: str
    name: str
    arguments: str
    # Of a nested call: the agent that makes it, and the call within which that agent works.
    agent: NotRequired[str]
    parent_call_id: NotRequired[str]


class ToolOutput(Numbered):
    """What a tool returned; of one that failed, a message about it."""

    type: Literal["tool.output"]
    call_id: str
    name: str
    output: str
    failed: NotRequired[bool]
    agent: NotRequired[str]
    parent_call_id: NotRequired[str]


# `from` cannot be a name in a class.
AgentChange = TypedDict("AgentChange", {"from": str, "to": str})


class AgentChanged(Numbered, AgentChange):
    """Another agent continues."""

    type: Literal["agent.changed"]


class ModelFallback(Numbered):
    """A model does not answer, and another is called in its place."""

    type: Literal["model.fallback"]
    model: str
    fallback: str
    code: str


class ApprovalRequired(Numbered):
    """A person has to decide: `answer_approval`."""

    type: Literal["approval.required"]
    approval_id: str
    call_id: str
    name: str
    arguments: str
    # Where the person has to sign in first.
    sign_in: NotRequired[SignIn | None]
    agent: NotRequired[str]
    parent_call_id: NotRequired[str]


class RecalledMemory(TypedDict):
    """What is known of the person."""

    id: str
    kind: Literal["fact", "preference", "summary"]
    text: str


class MemoryRecalled(Numbered):
    """An agent reads what is known of the person."""

    type: Literal["memory.recalled"]
    agent: str
    memories: list[RecalledMemory]


class MemoryNoted(Numbered):
    """An agent has noted what the person said; it may supersede what was known."""

    type: Literal["memory.noted"]
    agent: str
    memory: RecalledMemory
    supersedes: NotRequired[str]


class HistoryCompacted(Numbered):
    """The agent reads a new summary in place of older items."""

    type: Literal["history.compacted"]
    summary_id: str


class Last(Numbered):
    """What the last event of a stream has."""

    output: str | None
    agent: str
    handoffs: list[str]
    usage: Usage
    # A limit of tokens cut the answer.
    truncated: NotRequired[bool]
    # Calls of tools that the client executes.
    tool_calls: NotRequired[list[dict[str, Any]]]


class RunWaiting(Last):
    """The run waits for a person; after the decision `follow` continues."""

    type: Literal["run.waiting"]


class RunEnded(Last):
    """The run is over."""

    type: Literal["run.completed", "run.failed", "run.cancelled"]
    code: NotRequired[str]
    detail: NotRequired[str | None]
    quota: NotRequired[dict[str, Any]]
    guardrail: NotRequired[str]
    stage: NotRequired[str]


RunEvent = (
    RunQueued
    | RunStarted
    | RunResumed
    | ItemChanged
    | MessageDelta
    | ReasoningDelta
    | ToolCalled
    | ToolOutput
    | AgentChanged
    | ModelFallback
    | ApprovalRequired
    | MemoryRecalled
    | MemoryNoted
    | HistoryCompacted
    | RunWaiting
    | RunEnded
)
