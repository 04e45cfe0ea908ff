"""The schemas of requests and responses."""

import re
from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from servicekit.large_bodies import stands_for_content
from servicekit.request_limits import KIB
from servicekit.schemas import RequestModel, Time, max_length

# Of every route that takes messages, by default; and the most that `MAX_MESSAGE_BODY_BYTES` may say, which is
# what the gateway lets through.
MESSAGE_BODY = 25 * 1024 * KIB
MAX_MESSAGE_BODY = 32 * 1024 * KIB
# Of other routes that take text.
MAX_CHAT_BODY = 1024 * KIB
# `MAX_MESSAGE_CHARACTERS` may say less.
MAX_MESSAGE = 1_000_000
# What no database keeps: NUL, and halves of surrogate pairs.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# Of a guardrail: what it checks.
Stage = Literal["pre_flight", "input", "output", "tool"]
# A step within a value, and the steps before it.
Place = tuple["Place | None", str | int]
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1


def storable(value: str) -> str:
    """Refuse what cannot be stored or sent on: NUL, and halves of surrogate pairs."""
    if stands_for_content(value):
        raise ValueError("must not contain so much base64 data")
    # Ten times as fast as an expression, of a million characters.
    if "\0" in value or not is_unicode(value):
        raise ValueError("must not contain NUL or unpaired surrogates")
    return value


def is_unicode(value: str) -> bool:
    """Return whether a text has no halves of surrogate pairs."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def placed(error: ValueError, place: Place | None) -> ValidationError:
    """Return an error with its place within a value."""
    steps: list[str | int] = []
    while place is not None:
        place, step = place
        steps.insert(0, step)
    details = InitErrorDetails(
        type=PydanticCustomError("value_error", "{message}", {"message": str(error)}),
        loc=tuple(steps),
        input=None,
    )
    return ValidationError.from_exception_data("JSON", [details])


def storable_json(value: Any) -> Any:
    """Refuse JSON with what cannot be stored or sent on: such text, and numbers that no JSON can have.

    The error has its place within the value.
    """
    rest: list[tuple[Any, Place | None]] = [(value, None)]
    while rest:
        one, place = rest.pop()
        try:
            match one:
                case str():
                    storable(one)
                case dict():
                    rest += [(name, (place, name)) for name in one]
                    rest += [(member, (place, name)) for name, member in one.items()]
                case list():
                    rest += [(item, (place, index)) for index, item in enumerate(one)]
                case int() if not MIN_INTEGER <= one <= MAX_INTEGER:
                    raise ValueError("must not contain integers of more than 64 bits")
                case float() if not isfinite(one):
                    raise ValueError("must not contain numbers that are not finite")
        except ValueError as error:
            raise placed(error, place) from None
    return value


def in_utc(moment: datetime) -> datetime:
    """Return the same moment in UTC, as the database has it."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be within the years 1 to 9999") from None


Moment = Annotated[Time, AfterValidator(in_utc)]
Message = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_MESSAGE, pattern=r"\S"),
    AfterValidator(storable),
]


VariableText = Annotated[str, StringConstraints(strict=True, max_length=2_000), AfterValidator(storable)]
VariableValue = (
    Annotated[bool, Field(strict=True)]
    | Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
    | Annotated[float, Field(strict=True, allow_inf_nan=False)]
    | VariableText
)
VariableName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]{0,49}$")]
Variables = Annotated[
    dict[VariableName, VariableValue], Field(max_length=50), BeforeValidator(max_length(50))
]


class ChatRequest(RequestModel):
    """One message to an agent."""

    message: Message = Field(description="The user's message.", examples=["Hello, how can you help me?"])
    agent_type: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        "triage", description="The agent that answers first."
    )
    conversation_id: UUID | None = Field(
        None, description="The conversation to continue; without it, a new one."
    )
    variables: Variables = Field({}, description="Values that the instructions of a tenant's agent name.")
    on_conflict: Literal["enqueue", "reject", "interrupt", "rollback"] = Field(
        "enqueue",
        description="What to do while another run is unfinished in the conversation: wait for it, fail with "
        "409, stop it and store its partial answer, or stop it and delete its items.",
    )


OwnTokens = Annotated[int, Field(exclude_if=lambda number: number == 0)]


class ModelUsage(BaseModel):
    """Tokens of one model."""

    model: str
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    # Of the input, like those cached: written to the provider's cache, where it says so.
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    # Included in the tokens above, and known only roughly: the answer broke off.
    estimated_input_tokens: int = 0
    estimated_output_tokens: int = 0
    # Included in the tokens above: used with a key of the tenant's own, and not charged.
    own_key_input_tokens: OwnTokens = 0
    own_key_output_tokens: OwnTokens = 0
    own_key_cached_tokens: OwnTokens = 0
    cost: int | None = Field(
        None, description="In millionths of a US dollar, rounded up; null where a price is not known."
    )


class Usage(BaseModel):
    """Tokens of a run, in all and by model."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated_input_tokens: int = 0
    estimated_output_tokens: int = 0
    own_key_input_tokens: OwnTokens = 0
    own_key_output_tokens: OwnTokens = 0
    own_key_cached_tokens: OwnTokens = 0
    estimated: bool = False
    cost: int | None = Field(
        0, description="In millionths of a US dollar, rounded up; null where a price is not known."
    )
    models: list[ModelUsage] = []


NESTED = "The call within which the agent works, where it is a tool of another."


class SignIn(BaseModel):
    """A server that a person has to sign in for before a call."""

    server: str
    url: str = Field(description="`POST` there returns where the person signs in.")
    needs_approval: bool = Field(description="Whether the call is to be allowed as well, after the sign-in.")


class AgentVersion(BaseModel):
    """The version of an agent; one of the service has no number, and a dry run has 0."""

    name: str
    number: int | None
    digest: str


class AgentVariable(BaseModel):
    """A value that the instructions of an agent need."""

    name: str
    type: Literal["string", "integer", "number", "boolean"]
    description: str
    default: str | int | float | bool | None = Field(description="Without one, each run must give a value.")


class Agent(BaseModel):
    """An agent."""

    name: str
    status: str
    description: str
    handoffs: list[str]
    tools: list[str]
    source: Literal["service", "tenant"] = "service"
    version: int | None = Field(None, description="Of an agent of the tenant, the stable version.")
    starters: list[str] = Field([], description="What a person may begin with.")
    variables: list[AgentVariable] = Field([], description="What runs may, or must, give values of.")


class OwnTool(BaseModel):
    """An HTTP tool of the tenant."""

    name: str
    description: str
    version: int
    trusted: bool


class McpTool(BaseModel):
    """A tool of an MCP server of the tenant."""

    name: str = Field(description="By which models call it.")
    server: str
    server_tool: str = Field(description="The server's name for it.")
    state: Literal["confirmed", "changed", "unusable"] = Field(
        description="Agents call confirmed ones; `changed`: it differs from what was confirmed."
    )


class Tools(BaseModel):
    """The tools that agents may use."""

    total_tools: int = Field(description="Of the service, as the next two members.")
    tool_names: list[str]
    categories: dict[str, list[str]]
    own_tools: list[OwnTool] = Field([], description="The tenant's HTTP tools.")
    mcp_tools: list[McpTool] = Field([], description="The tools of the tenant's MCP servers.")
