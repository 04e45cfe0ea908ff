"""What OpenAI's clients send: what is honoured is a field, what cannot be is refused, the rest is ignored."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field
from servicekit.schemas import max_length

from chat_agent.protocols.openai.errors import InvalidParameter, UnsupportedParameter
from chat_agent.protocols.requests import (
    Asked,
    Messages,
    Name,
    Parts,
    Said,
    Text,
    Tolerant,
    answer_of,
    asked_of,
    conversation_named,
    joined,
)
from chat_agent.schemas import Answer

Role = Literal["system", "developer", "user", "assistant"]
Metadata = Annotated[dict[str, Text], Field(max_length=16), BeforeValidator(max_length(16))] | None
# What a parameter may be though it cannot be honoured: what it is when nobody has set it.
UNSET: tuple[Any, ...] = (None, [], {})
COMPLETION_REFUSES: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "tools": (),
    "tool_choice": ("auto", "none"),
    "functions": (),
    "function_call": ("auto", "none"),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "audio": (),
    "response_format": ({"type": "text"},),
    "prediction": (),
    "web_search_options": (),
    "stop": (),
}
RESPONSE_REFUSES: Mapping[str, tuple[Any, ...]] = {
    "tools": (),
    "tool_choice": ("auto", "none"),
    "prompt": (),
    "top_logprobs": (0,),
}
APPROVAL = "mcp_approval_response"
# What an earlier response contained may be sent back; it is in the conversation already.
OURS = {"reasoning", "mcp_call", "mcp_list_tools", "mcp_approval_request"}


class Part(Tolerant):
    """A part of a message."""

    type: Name
    text: Text | None = None
    refusal: Text | None = None


Content = Text | Parts[Part] | None


class ChatMessage(Tolerant):
    """A message of Chat Completions."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content = None

    def said(self, place: str) -> Said:
        """Give what it says; raises UnsupportedParameter for the results of tools that a client runs."""
        if self.role in {"tool", "function"} or (self.model_extra or {}).get("tool_calls"):
            raise UnsupportedParameter(place, "Tools are run by the server; messages about yours cannot be.")
        return Said(self.role, text_of(self.content, f"{place}.content"))


class StreamOptions(Tolerant):
    """What a stream shall tell."""

    include_usage: bool = False


class CompletionRequest(Tolerant):
    """A request for a chat completion. What is not named here is ignored or refused; see README."""

    model: Name = Field(description="The agent that answers.", examples=["triage"])
    messages: Annotated[Messages[ChatMessage], Field(min_length=1)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    metadata: Metadata = Field(
        None, description="`conversation_id` goes on with that conversation; `on_conflict` as in `/chat`."
    )

    def asked(self) -> Asked:
        """Give what is asked, in our words; raises UnsupportedParameter."""
        refuse(self.model_extra, COMPLETION_REFUSES)
        messages = [one.said(f"messages[{index}]") for index, one in enumerate(self.messages)]
        metadata = self.metadata or {}
        named, on_conflict = metadata.get("conversation_id"), metadata.get("on_conflict")
        if named is None:
            return asked_of(messages, self.model, None, on_conflict)
        # The conversation remembers what was said before.
        return asked_of(messages[-1:], self.model, conversation_named(named), on_conflict)


class InputItem(Tolerant):
    """An item of a response's input."""

    type: Name = "message"
    role: Role | None = None
    content: Content = None
    # Of an `mcp_approval_response`.
    approval_request_id: UUID | None = Field(None, strict=False)
    approve: bool | None = None
    reason: Text | None = None

    def answer(self, place: str) -> tuple[UUID, Answer]:
        """Give what it says to a request for approval."""
        if self.approval_request_id is None or self.approve is None:
            raise InvalidParameter(place, "An approval needs `approval_request_id` and `approve`.")
        return self.approval_request_id, answer_of(approve=self.approve, reason=self.reason)


class ConversationName(Tolerant):
    """A conversation, by its id."""

    id: Name


class ResponseRequest(Tolerant):
    """A request for a response. What is not named here is ignored or refused; see README."""

    model: Name = Field("triage", description="The agent that answers.")
    input: Text | Messages[InputItem]
    instructions: Text | None = Field(None, description="Said to the agent when a conversation begins.")
    stream: bool | None = False
    background: bool | None = False
    previous_response_id: Name | None = None
    conversation: Name | ConversationName | None = None
    metadata: Metadata = None

    def asked(self, conversation_id: UUID | None) -> Asked:
        """Give what is asked, in our words; raises UnsupportedParameter."""
        refuse(self.model_extra, RESPONSE_REFUSES)
        refuse_format((self.model_extra or {}).get("text"))
        messages, on_conflict = [*self._said()], (self.metadata or {}).get("on_conflict")
        if conversation_id is not None:
            return asked_of(messages[-1:], self.model, conversation_id, on_conflict)
        before = [Said("developer", self.instructions)] if self.instructions else []
        return asked_of([*before, *messages], self.model, None, on_conflict)

    def approvals(self) -> dict[UUID, Answer]:
        """Give the answers to requests for approval; where there are some, there may be nothing else."""
        items = [] if isinstance(self.input, str) else self.input
        if not any(one.type == APPROVAL for one in items):
            return {}
        for index, one in enumerate(items):
            if one.type not in {APPROVAL, *OURS}:
                raise UnsupportedParameter(f"input[{index}]", "Answer what was asked for, then say more.")
        return dict(one.answer(f"input[{index}]") for index, one in enumerate(items) if one.type == APPROVAL)

    def conversation_id(self) -> UUID | None:
        """Read which conversation goes on, if it is named; raises UnknownConversation."""
        if self.conversation is None:
            return None
        if self.previous_response_id is not None:
            raise InvalidParameter(
                "conversation", "Give `previous_response_id` or `conversation`, not both of them."
            )
        name = self.conversation if isinstance(self.conversation, str) else self.conversation.id
        return conversation_named(name)

    def _said(self) -> Iterator[Said]:
        if isinstance(self.input, str):
            yield Said("user", self.input)
            return
        for index, item in enumerate(self.input):
            if item.type in OURS:
                continue
            if item.type != "message" or item.role is None:
                raise UnsupportedParameter(
                    f"input[{index}]", f"Items of type `{item.type}` are not taken here."
                )
            yield Said(item.role, text_of(item.content, f"input[{index}].content"))


def refuse(given: Mapping[str, Any] | None, refused: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise UnsupportedParameter for the first parameter that is set to something that cannot be honoured."""
    for name, value in (given or {}).items():
        if name in refused and not any(same(value, one) for one in (*UNSET, *refused[name])):
            raise UnsupportedParameter(name)


def same(one: object, other: object) -> bool:
    """Compare JSON values; true is not 1 there."""
    return type(one) is type(other) and one == other


def refuse_format(text: object) -> None:
    """Raise UnsupportedParameter when an answer is wanted in another form than text."""
    given = text.get("format") if isinstance(text, dict) else None
    if isinstance(given, dict) and given.get("type") != "text":
        raise UnsupportedParameter("text.format")


def text_of(content: Content, place: str) -> str:
    """Give the text of a message; raises UnsupportedParameter for what is none."""
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.text is None and part.refusal is None:
            raise UnsupportedParameter(place, f"Parts of type `{part.type}` are not taken here, only text.")
    return joined(part.text or part.refusal or "" for part in content)
