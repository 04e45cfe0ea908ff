"""What clients of other protocols ask, in our words: a prelude, and the one message that a run answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID, uuid5

from fastapi.exceptions import RequestValidationError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from servicekit.auth.tokens import Principal
from servicekit.errors import BadRequest
from servicekit.schemas import BoundedModel, max_length

from chat_agent.api.run_request import RunRequest
from chat_agent.errors import ConversationNotFound
from chat_agent.runs.schemas import Answer
from chat_agent.schemas import MAX_MESSAGE, ChatRequest, VariableValue, storable, storable_json

Model = TypeVar("Model", bound=BaseModel)

# The roles of messages that tell the agent what to do.
INSTRUCTIONS = frozenset({"system", "developer"})
# What a history means that ends in the assistant's message: its person stopped the answer, or it was cut.
CONTINUE = "Continue your last message exactly where it ends. Repeat nothing of it."

Item = TypeVar("Item")
Text = Annotated[str, Field(max_length=MAX_MESSAGE), AfterValidator(storable)]
Name = Annotated[str, Field(max_length=256), AfterValidator(storable)]
# Validation stops at the first invalid item.
Messages = Annotated[list[Item], Field(fail_fast=True, max_length=2000)]
Parts = Annotated[list[Item], Field(fail_fast=True, max_length=500)]
# Whatever the client has; it is sent back, or on to the model.
Anything = Annotated[Any, AfterValidator(storable_json)]
Members = Annotated[
    dict[str, Any], Field(max_length=1000), BeforeValidator(max_length(1000)), AfterValidator(storable_json)
]


class UserMessageMissing(BadRequest):
    """The last message is not the user's, or has no text."""

    default_detail = "The last message must be the user's and have text."


class UnsupportedContent(BadRequest):
    """The message has content that is not text."""

    default_detail = "Only text can be sent to an agent."


class LenientModel(BoundedModel):
    """A body whose form is somebody else's: strict about what it knows, and open to what it does not."""

    model_config = ConfigDict(extra="allow", strict=True)

    @model_validator(mode="before")
    @classmethod
    def without_null(cls, value: object) -> object:
        """Drop optional members that are null, as many clients send them."""
        if not isinstance(value, dict) or None not in value.values():
            return value
        optional = {
            field.alias or name for name, field in cls.model_fields.items() if not field.is_required()
        }
        return {name: member for name, member in value.items() if member is not None or name not in optional}


@dataclass(frozen=True)
class ChatTurn:
    """One message of a conversation."""

    role: str
    text: str
    # Its parts, where it is not only text.
    content: Sequence[dict[str, Any]] = ()

    def to_item(self) -> dict[str, Any]:
        """Return it as an item of the SDK."""
        return {"role": self.role, "content": [*self.content] or self.text}


@dataclass(frozen=True)
class ClientCall:
    """A call of one of the client's tools."""

    call_id: str
    name: str
    arguments: str

    def to_item(self) -> dict[str, Any]:
        """Return it as an item of the SDK."""
        return {"type": "function_call", **vars(self)}


@dataclass(frozen=True)
class ClientOutput:
    """What a call of one of the client's tools gave."""

    call_id: str
    output: str

    def to_item(self) -> dict[str, Any]:
        """Return it as an item of the SDK."""
        return {"type": "function_call_output", **vars(self)}


Turn = ChatTurn | ClientCall | ClientOutput


class WordlessRequest(ChatRequest):
    """A request without text: it goes on with outputs of tools, or has only images and files."""

    message: Literal[""] = ""


def to_run_request(
    turns: Sequence[Turn],
    agent: str,
    conversation_id: UUID | None,
    on_conflict: object = None,
    variables: Mapping[str, VariableValue] | None = None,
) -> RunRequest:
    """Convert a conversation that ends in the user's message, or in outputs of the client's tools.

    Raises UserMessageMissing.
    """
    turns = before_input(turns)
    turns = [turn for turn in turns if not is_empty(turn) or turn is turns[-1]]
    outputs = trailing_outputs(turns)
    values: dict[str, Any] = {"agent_type": agent, "conversation_id": conversation_id}
    if variables:
        values["variables"] = variables
    if on_conflict is not None:
        values["on_conflict"] = on_conflict
    if outputs:
        prelude = [turn.to_item() for turn in turns[: -len(outputs)]]
        items = [turn.to_item() for turn in outputs]
        return RunRequest(validated(WordlessRequest, **values), prelude=prelude, tool_outputs=items)
    last = turns[-1] if turns else None
    if not isinstance(last, ChatTurn) or last.role != "user" or not (last.text.strip() or last.content):
        raise UserMessageMissing
    prelude = [turn.to_item() for turn in turns[:-1]]
    if not last.text.strip():
        return RunRequest(validated(WordlessRequest, **values), last.content, prelude=prelude)
    return RunRequest(validated(ChatRequest, **values, message=last.text), last.content, prelude=prelude)


def before_input(turns: Sequence[Turn]) -> Sequence[Turn]:
    """Move instructions at the end before the user's message, or before the calls whose outputs come last.

    Some clients end each request with such a note; between a call and its output providers take none.
    """
    end = len(turns)
    while end and is_instruction(turns[end - 1]):
        end -= 1
    if end in {0, len(turns)}:
        return turns
    start = end - (len(trailing_outputs(turns[:end])) or 1)
    while start and isinstance(turns[start - 1], ClientCall):
        start -= 1
    return [*turns[:start], *turns[end:], *turns[start:end]]


def end_in_request(turns: Sequence[Turn]) -> Sequence[Turn]:
    """Append a request to continue where a client's history ends in the answer to a user."""
    turns = before_input(turns)
    while turns and is_assistants(turns[-1]) and is_empty(turns[-1]):
        turns = turns[:-1]
    users = any(isinstance(turn, ChatTurn) and turn.role == "user" for turn in turns)
    return [*turns, ChatTurn("user", CONTINUE)] if users and is_assistants(turns[-1]) else turns


def is_assistants(turn: Turn) -> bool:
    """Return whether a turn is a message of the assistant."""
    return isinstance(turn, ChatTurn) and turn.role == "assistant"


def is_instruction(turn: Turn) -> bool:
    """Return whether a turn tells the agent what to do."""
    return isinstance(turn, ChatTurn) and turn.role in INSTRUCTIONS


def is_empty(turn: Turn) -> bool:
    """Return whether a turn is a message that says nothing."""
    return isinstance(turn, ChatTurn) and not turn.text and not turn.content


def trailing_outputs(turns: Sequence[Turn]) -> Sequence[ClientOutput]:
    """Return the outputs of tools in which a conversation ends."""
    outputs: list[ClientOutput] = []
    for turn in reversed(turns):
        if not isinstance(turn, ClientOutput):
            break
        outputs.insert(0, turn)
    return outputs


def to_approval_decision(**values: object) -> Answer:
    """Build an answer of ours to what a run has asked for."""
    return validated(Answer, **values)


def validated(kind: type[Model], **values: object) -> Model:
    """Build a request of ours; what does not fit is refused as if the client had sent it so."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        errors = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_context=False)]
        raise RequestValidationError(errors) from error


def join_text(parts: Iterable[str]) -> str:
    """Build one text of several parts."""
    return "\n".join(part for part in parts if part)


def conversation_id_for(caller: Principal, name: str) -> UUID:
    """Return the conversation of a client's name: a UUID as it is, else an id derived for this user."""
    try:
        return UUID(name)
    except ValueError:
        assert caller.tenant_id  # noqa: S101  # the token of a person has one
        # Of its own for each end user: a name may contain a slash, too.
        is_end_users = caller.end_user is not None
        namespace = uuid5(caller.tenant_id, caller.user_id) if is_end_users else caller.tenant_id
        return uuid5(namespace, f"{caller.subject}/{name}")


def parse_conversation_id(name: str) -> UUID:
    """Read the name of a conversation, a UUID or `conv_` and its hex; raises ConversationNotFound."""
    try:
        return UUID(name.removeprefix("conv_"))
    except ValueError:
        raise ConversationNotFound from None
