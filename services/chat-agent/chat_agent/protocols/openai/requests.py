"""What OpenAI's clients send: what is honoured is a field, what cannot be is refused, the rest is ignored."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field
from servicekit.schemas import max_length

from chat_agent.api.run_request import Persistence, RunRequest
from chat_agent.execution.agent_graph import AgentProfile
from chat_agent.protocols.errors import InvalidParameter, UnsupportedParameter
from chat_agent.protocols.media import TEXT_ONLY, Inputs, inputs_of
from chat_agent.protocols.openai.content import Content, message_turn, output_text
from chat_agent.protocols.openai.custom_tools import arguments_of
from chat_agent.protocols.openai.errors import Place, sent_as
from chat_agent.protocols.openai.parameters import CompletionParameters, ResponseParameters
from chat_agent.protocols.openai.prompts import PLACE, Prompt
from chat_agent.protocols.openai.tools import model_name
from chat_agent.protocols.requests import (
    INSTRUCTIONS,
    ChatTurn,
    ClientCall,
    ClientOutput,
    LenientModel,
    Messages,
    Name,
    Parts,
    Text,
    Turn,
    before_input,
    end_in_request,
    parse_conversation_id,
    to_approval_decision,
    to_run_request,
    trailing_outputs,
)
from chat_agent.runs.schemas import Answer
from chat_agent.schemas import Variables
from chat_agent.settings import Settings

Role = Literal["system", "developer", "user", "assistant"]
Metadata = Annotated[dict[Name, Text], Field(max_length=16), BeforeValidator(max_length(16))] | None
# What a parameter may be though it cannot be honoured: what it is when nobody has set it.
UNSET: tuple[Any, ...] = (None, [], {})
COMPLETION_REFUSES: Mapping[str, tuple[Any, ...]] = {
    "functions": (),
    "function_call": ("auto", "none"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
}
APPROVAL = "mcp_approval_response"
# What an earlier response contained may be sent back; it is in the conversation already.
CALLS = {"function_call", "custom_tool_call"}
OUTPUTS = {"function_call_output", "custom_tool_call_output"}
SERVER_ITEMS = {"reasoning", "mcp_call", "mcp_list_tools", "mcp_approval_request"}


class CalledFunction(LenientModel):
    """Which function was called, and how."""

    name: Name
    arguments: Text


class CalledCustomTool(LenientModel):
    """Which custom tool was called, and with what."""

    name: Name
    input: Text


class ToolCall(LenientModel):
    """A call of a tool, as an earlier completion had it."""

    id: Name
    function: CalledFunction | None = None
    custom: CalledCustomTool | None = None

    def to_turn(self, place: str) -> ClientCall:
        """Return the call; raises InvalidParameter for one of no tool."""
        if self.function:
            return ClientCall(self.id, model_name(self.function.name), self.function.arguments)
        if self.custom:
            return ClientCall(self.id, model_name(self.custom.name), arguments_of(self.custom.input))
        raise InvalidParameter(f"{place}.function", "Name the function that was called.")


class ChatMessage(LenientModel):
    """A message of Chat Completions."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content = None
    tool_calls: Parts[ToolCall] | None = None
    tool_call_id: Name | None = None

    def to_turns(self, place: str, inputs: Inputs) -> Iterator[Turn]:
        """Yield what it says; raises UnsupportedParameter, InvalidParameter."""
        if self.role == "function":
            raise UnsupportedParameter(place, "Use `tools`: messages of the role `function` are not taken.")
        if self.role == "tool":
            if self.tool_call_id is None:
                raise InvalidParameter(f"{place}.tool_call_id", "Name the call that this is the output of.")
            yield ClientOutput(self.tool_call_id, output_text(self.content, f"{place}.content"))
            return
        yield message_turn(self.role, self.content, f"{place}.content", inputs)
        for index, call in enumerate(self.tool_calls or []):
            yield call.to_turn(f"{place}.tool_calls[{index}]")


class StreamOptions(LenientModel):
    """What a stream shall tell."""

    include_usage: bool = False


class CompletionRequest(CompletionParameters):
    """A request for a chat completion. What is not named here is ignored or refused; see README."""

    model: Name = Field("triage", description="The agent that answers.")
    messages: Annotated[Messages[ChatMessage], Field(min_length=1)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    variables: Variables | None = Field(
        None, description="Values that the instructions of a tenant's agent name."
    )
    metadata: Metadata = Field(
        None,
        description="`conversation_id` goes on with that conversation; `on_conflict` as in `/chat`; "
        "`on_disconnect`: `cancel` or `continue`.",
    )

    def translate(self, agent: AgentProfile, settings: Settings) -> RunRequest:
        """Return what is asked, in our words; raises UnsupportedParameter, InvalidParameter."""
        reject_unsupported(self.model_extra, COMPLETION_REFUSES)
        inputs = inputs_of(settings, agent)
        turns = [
            turn
            for index, one in enumerate(self.messages)
            for turn in one.to_turns(f"messages[{index}]", inputs)
        ]
        metadata = self.metadata or {}
        named, on_conflict = metadata.get("conversation_id"), metadata.get("on_conflict")
        conversation_id = None if named is None else parse_conversation_id(named)
        if conversation_id and (self.n or 1) > 1:
            raise UnsupportedParameter("n", "A message in a conversation has one answer: leave out `n`.")
        last = input_index([message.role for message in self.messages])
        with sent_as(run_places(("messages", last, "content"))):
            request = to_run_request(
                newest(turns, conversation_id), self.model, conversation_id, on_conflict, self.variables
            )
        # Nobody has to know such a conversation to go on: the client sends it again.
        persistence: Persistence = "permanent" if conversation_id else "temporary"
        if self.store is False:
            persistence = "none"
        return replace(request, options=self.options(agent, settings), persistence=persistence)


class InputItem(LenientModel):
    """An item of a response's input."""

    type: Name = "message"
    # Of an `item_reference`.
    id: Name | None = None
    role: Role | None = None
    content: Content = None
    # Of an `mcp_approval_response`.
    approval_request_id: UUID | None = Field(None, strict=False)
    approve: bool | None = None
    reason: Text | None = None
    # Of a call of a tool and its output.
    call_id: Name | None = None
    name: Name | None = None
    namespace: Name | None = None
    arguments: Text | None = None
    input: Text | None = None
    output: Content = None

    def to_tool_turn(self, place: str) -> Turn:
        """Return the call of a tool, or what it gave; raises InvalidParameter, UnsupportedParameter."""
        if self.call_id is None:
            raise InvalidParameter(f"{place}.call_id", "Name the call.")
        if self.type in OUTPUTS:
            return ClientOutput(self.call_id, output_text(self.output, f"{place}.output"))
        arguments = self.arguments
        if self.type == "custom_tool_call":
            arguments = None if self.input is None else arguments_of(self.input)
        if self.name is None or arguments is None:
            raise InvalidParameter(place, "A call needs `name` and `arguments`, or `input`.")
        return ClientCall(self.call_id, model_name(self.name, self.namespace), arguments)

    def to_decision(self, index: int) -> tuple[UUID, Answer]:
        """Return what it says to a request for approval."""
        if self.approval_request_id is None or self.approve is None:
            raise InvalidParameter(
                f"input[{index}]", "An approval needs `approval_request_id` and `approve`."
            )
        with sent_as({"reason": ("input", index, "reason")}):
            return self.approval_request_id, to_approval_decision(approve=self.approve, reason=self.reason)


class ConversationName(LenientModel):
    """A conversation, by its id."""

    id: Name


class ResponseRequest(ResponseParameters):
    """A request for a response. What is not named here is ignored or refused; see README."""

    model: Name = Field("triage", description="The agent that answers.")
    input: Text | Messages[InputItem]
    instructions: Text | None = Field(None, description="Said to the agent when a conversation begins.")
    stream: bool | None = False
    background: bool | None = False
    prompt: Prompt | None = Field(None, description="The agent, and values for its variables.")
    previous_response_id: Name | None = None
    conversation: Name | ConversationName | None = None
    metadata: Metadata = Field(
        None, description="`on_conflict` as in `/chat`; `on_disconnect`: `cancel` or `continue`."
    )

    def translate(self, agent: AgentProfile, conversation_id: UUID | None, settings: Settings) -> RunRequest:
        """Return what is asked, in our words; raises UnsupportedParameter, InvalidParameter."""
        before = [ChatTurn("developer", self.instructions)] if self.instructions else []
        turns = newest([*before, *self._turns(inputs_of(settings, agent))], conversation_id)
        on_conflict = (self.metadata or {}).get("on_conflict")
        last: Place = ()
        if not isinstance(self.input, str):
            last = (input_index([item.role for item in self.input]), "content")
        values = self.prompt.values() if self.prompt else None
        with sent_as(run_places(("input", *last), self._agent_place)):
            request = to_run_request(turns, self.agent_name, conversation_id, on_conflict, values)
        persistence: Persistence = "none" if self.store is False else "permanent"
        options = self.options(agent, settings)
        return replace(request, options=options, persistence=persistence, variables_place=PLACE)

    @property
    def agent_name(self) -> str:
        """The agent that answers; raises InvalidParameter where `model` and `prompt` name two."""
        if self.prompt is None:
            return self.model
        if "model" in self.model_fields_set and self.model != self.prompt.id:
            raise InvalidParameter("prompt.id", "`model` names another agent; leave one of them out.")
        return self.prompt.id

    @property
    def _agent_place(self) -> Place:
        return ("model",) if self.prompt is None else ("prompt", "id")

    def approvals(self) -> dict[UUID, Answer]:
        """Return the answers to requests for approval; where there are some, there may be nothing else."""
        items = [] if isinstance(self.input, str) else self.input
        if not any(one.type == APPROVAL for one in items):
            return {}
        for index, one in enumerate(items):
            if one.type not in {APPROVAL, *SERVER_ITEMS}:
                raise UnsupportedParameter(f"input[{index}]", "Answer what was asked for, then say more.")
        return dict(one.to_decision(index) for index, one in enumerate(items) if one.type == APPROVAL)

    def conversation_id(self) -> UUID | None:
        """Read which conversation goes on, if it is named; raises ConversationNotFound."""
        if self.conversation is None:
            return None
        if self.previous_response_id is not None:
            raise InvalidParameter(
                "conversation", "Give `previous_response_id` or `conversation`, not both of them."
            )
        name = self.conversation if isinstance(self.conversation, str) else self.conversation.id
        return parse_conversation_id(name)

    def _turns(self, inputs: Inputs) -> Sequence[Turn]:
        if isinstance(self.input, str):
            return [ChatTurn("user", self.input)]
        return turns_of(self.input, "input", inputs)


def turns_of(items: Sequence[InputItem], name: str, inputs: Inputs = TEXT_ONLY) -> list[Turn]:
    """Return what items say; raises UnsupportedParameter, InvalidParameter."""
    turns: list[Turn] = []
    for index, item in enumerate(items):
        place = f"{name}[{index}]"
        if item.type in SERVER_ITEMS:
            continue
        if item.type in {*CALLS, *OUTPUTS}:
            turns.append(item.to_tool_turn(place))
            continue
        if item.type != "message" or item.role is None:
            raise UnsupportedParameter(place, f"Items of type `{item.type}` are not taken here.")
        turns.append(message_turn(item.role, item.content, f"{place}.content", inputs))
    return turns


def newest(turns: Sequence[Turn], conversation_id: UUID | None) -> Sequence[Turn]:
    """Return what is new to a conversation: all of it, or, where it remembers the rest, the end."""
    if conversation_id is None:
        return end_in_request(turns)
    turns = before_input(turns)
    return trailing_outputs(turns) or turns[-1:]


def input_index(roles: Sequence[str | None]) -> int:
    """Return where the newest message is that is no instruction."""
    indexes = [index for index, role in enumerate(roles) if role not in INSTRUCTIONS]
    return indexes[-1] if indexes else len(roles) - 1


def run_places(message: Place, agent: Place = ("model",)) -> Mapping[str, Place]:
    """Return where a client has sent what a run needs, with the places of the message and the agent."""
    return {"message": message, "agent_type": agent, "on_conflict": ("metadata", "on_conflict")}


def reject_unsupported(parameters: Mapping[str, Any] | None, refused: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise UnsupportedParameter for the first parameter that is set to something that cannot be honoured."""
    for name, value in (parameters or {}).items():
        if name in refused and not any(same(value, one) for one in (*UNSET, *refused[name])):
            raise UnsupportedParameter(name)


def same(one: object, other: object) -> bool:
    """Compare JSON values; true is not 1 there."""
    return type(one) is type(other) and one == other
