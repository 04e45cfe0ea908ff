"""What routes take and return; a test compares the names with the OpenAPI documents."""

from typing import Any, Literal, NotRequired, TypedDict


class MessageOptions(TypedDict, total=False):
    """What a message may have beside its text."""

    agent_type: str
    conversation_id: str
    on_conflict: Literal["enqueue", "reject", "interrupt", "rollback"]
    variables: dict[str, str | int | float | bool]


class Usage(TypedDict):
    """Tokens of a run, in all and by model."""

    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    estimated: bool
    estimated_input_tokens: int
    estimated_output_tokens: int
    # Of the tokens above, those used with a key of the tenant's own; left out where there are none.
    own_key_input_tokens: NotRequired[int]
    own_key_output_tokens: NotRequired[int]
    own_key_cached_tokens: NotRequired[int]
    # In millionths of a US dollar; none where a price is not known.
    cost: int | None
    models: list[dict[str, Any]]


class AgentVersion(TypedDict):
    """The version of an agent; one of the service has no number."""

    name: str
    number: int | None
    digest: str


class RunSummary(TypedDict):
    """A run in a list."""

    id: str
    conversation_id: str
    user_id: str
    status: str
    agent: str
    final_agent: str | None
    handoffs: list[str]
    agent_versions: list[AgentVersion]
    model: str
    usage: Usage
    cost: int | None
    error_code: str | None
    error_detail: str | None
    # What ended it, if it was a limit or a guardrail.
    quota: dict[str, Any] | None
    guardrail: str | None
    stage: str | None
    created_at: str
    started_at: str | None
    ended_at: str | None
    duration_ms: int | None
    trace_id: str | None
    superseded: bool


class Run(RunSummary):
    """A run, as its owner sees it."""

    message: str
    output: str | None
    waiting_until: str | None


class SignIn(TypedDict):
    """A server that a person has to sign in for before a call: `POST` to `url` returns where."""

    server: str
    url: str
    needs_approval: bool


class Approval(TypedDict):
    """A tool call that a person has to allow."""

    id: str
    call_id: str
    agent: str
    name: str
    arguments: str
    status: str
    reason: str | None
    decided_by: str | None
    # What the call is executed with, where the person has changed it.
    edited_arguments: str | None
    sign_in: SignIn | None
    # The call within which the agent works, where it is a tool of another.
    parent_call_id: str | None
    created_at: str
    decided_at: str | None


class RunDetail(Run):
    """A run with its approvals."""

    approvals: list[Approval]


class RunSummaryPage(TypedDict):
    """Runs, the newest first."""

    items: list[RunSummary]
    next_cursor: NotRequired[str | None]


class Message(TypedDict):
    """A message of a conversation."""

    # Begins with the id of the run that it is of, if it is of one.
    id: str
    role: str
    content: str
    timestamp: str
    is_incomplete: bool


class Conversation(TypedDict):
    """A conversation, with the start of its last message."""

    conversation_id: str
    title: str | None
    message_count: int
    last_message: str | None
    created_at: str
    updated_at: str


class ConversationDetail(Conversation):
    """A conversation with its newest messages."""

    messages: list[Message]


class ConversationPage(TypedDict):
    """Conversations, the most recently updated first."""

    items: list[Conversation]
    next_cursor: NotRequired[str | None]
