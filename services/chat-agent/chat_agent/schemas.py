"""What crosses the wire."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints
from servicekit.wire import Body

MAX_MESSAGE = 32_000


def storable(value: str) -> str:
    """Refuse what cannot be stored or sent on: NUL, and halves of surrogate pairs."""
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain NUL or unpaired surrogates")
    return value


Message = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_MESSAGE, pattern=r"\S"),
    AfterValidator(storable),
]


class ChatRequest(Body):
    """One message to an agent."""

    message: Message = Field(description="What the person says.", examples=["Hello, how can you help me?"])
    agent_type: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        "triage", description="The agent that hears it first."
    )
    conversation_id: UUID | None = Field(
        None, description="Go on with this conversation; without it, a new one."
    )


class ModelUsage(BaseModel):
    """Tokens of one model."""

    model: str
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    # Included in the tokens above, and known only roughly: the answer broke off.
    estimated_input_tokens: int = 0
    estimated_output_tokens: int = 0


class Usage(BaseModel):
    """Tokens of a run, in all and by model."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated_input_tokens: int = 0
    estimated_output_tokens: int = 0
    estimated: bool = False
    models: list[ModelUsage] = []


class ChatAnswer(BaseModel):
    """The whole answer of one turn."""

    response: str
    conversation_id: UUID
    run_id: UUID
    agent_used: str
    handoff_occurred: bool
    usage: Usage
    metadata: dict[str, JsonValue]


class Run(BaseModel):
    """A run, as its owner sees it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    conversation_id: UUID
    agent: str
    model: str
    status: str
    output: str | None
    final_agent: str | None
    handoffs: list[str]
    usage: Usage
    error_code: str | None
    error_detail: str | None
    trace_id: str | None
    created_at: datetime
    ended_at: datetime | None


class Agent(BaseModel):
    """An agent that can be talked to."""

    name: str
    status: str
    description: str
    handoffs: list[str]
    tools: list[str]


class AgentStatus(BaseModel):
    """What an agent has done in this tenant."""

    name: str
    status: str
    last_used: datetime | None
    total_conversations: int


class Tools(BaseModel):
    """The tools that agents may use."""

    total_tools: int
    tool_names: list[str]
    categories: dict[str, list[str]]
