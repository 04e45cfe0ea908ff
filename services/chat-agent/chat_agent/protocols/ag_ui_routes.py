"""The route that AG-UI's clients speak to."""

from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator, Field

from chat_agent.api.dependencies import AgentName, IdempotencyKey, ManagerDep, Writer
from chat_agent.api.disconnects import disconnect_handler
from chat_agent.api.rate_limits import ChatLimiter
from chat_agent.api.run_request import RunRequest
from chat_agent.api.start_run import answer_approvals, start_run
from chat_agent.attachments.request_data import MessageRoute
from chat_agent.execution.agent_graph import AgentProfile
from chat_agent.protocols import responses
from chat_agent.protocols.ag_ui import AgUiEvents, Thread
from chat_agent.protocols.client_tools import MAX_TOOLS, NamedFunction, is_own_tool, tool_options
from chat_agent.protocols.media import Inputs, Media, MediaText, inputs_of, mixed_turn
from chat_agent.protocols.requests import (
    Anything,
    ChatTurn,
    ClientCall,
    ClientOutput,
    LenientModel,
    Members,
    Messages,
    Name,
    Parts,
    Text,
    Turn,
    conversation_id_for,
    join_text,
    to_approval_decision,
    to_run_request,
)
from chat_agent.runs.schemas import Answer
from chat_agent.schemas import MAX_MESSAGE_BODY, Variables
from chat_agent.settings import OnDisconnect, Settings

router = APIRouter(
    prefix="/api/v1/agents", tags=["agents"], route_class=MessageRoute, max_body_size=MAX_MESSAGE_BODY
)

# Messages with other roles are about what the frontend shows.
TEXT_ROLES = {"developer", "system", "user", "assistant"}


KINDS = {"document": "file"}


class MediaSource(LenientModel):
    """Where the content of a part is: in it, or at an address."""

    type: Literal["data", "url"]
    value: MediaText
    mime_type: Name | None = Field(None, alias="mimeType")

    def to_url(self) -> str:
        """Return it as a data URL, or the address."""
        is_data = self.type == "data" and not self.value.startswith("data:")
        return f"data:{self.mime_type};base64,{self.value}" if is_data else self.value


class AgUiPart(LenientModel):
    """A part of a message."""

    type: Name
    text: Text | None = None
    # Of the older `binary`.
    mime_type: Name | None = Field(None, alias="mimeType")
    data: MediaText | None = None
    url: MediaText | None = None
    filename: Name | None = None
    # Of an `image` or a `document`.
    source: MediaSource | None = None

    def to_media(self, place: str) -> Media:
        """Return the image or the file that it is."""
        source = self.source or MediaSource(
            type="data" if self.url is None else "url",
            value=self.data or self.url or "",
            mimeType=self.mime_type,
        )
        kind = KINDS.get(self.type, self.type)
        if self.type == "binary":
            kind = "image" if (source.mime_type or "").startswith("image/") else "file"
        return Media(kind, source.to_url(), place, filename=self.filename)


class CalledFunction(LenientModel):
    """Which function was called, and how."""

    name: Name
    arguments: Text


class AgUiToolCall(LenientModel):
    """A call of a tool."""

    id: Name
    function: CalledFunction


class Message(LenientModel):
    """A message that the frontend holds."""

    id: Name
    role: Literal["developer", "system", "user", "assistant", "tool", "activity", "reasoning"]
    content: Text | Parts[AgUiPart] | Members | None = None
    tool_calls: Parts[AgUiToolCall] | None = Field(None, alias="toolCalls")
    tool_call_id: Name | None = Field(None, alias="toolCallId")

    @property
    def text(self) -> str:
        """Return its text."""
        if isinstance(self.content, list):
            return join_text(part.text or "" for part in self.content)
        return self.content if isinstance(self.content, str) else ""

    def to_chat_turn(self, place: str, inputs: Inputs, *, is_new: bool) -> ChatTurn:
        """Return what it says; raises UnsupportedContent, InvalidParameter."""
        if not isinstance(self.content, list):
            return ChatTurn(self.role, self.text)
        parts = [
            part.to_media(f"{place}.content[{index}]") if part.text is None else part.text
            for index, part in enumerate(self.content)
        ]
        return mixed_turn(self.role, parts, inputs, is_new=is_new)

    def to_turns(
        self, server_calls: Container[str], place: str, inputs: Inputs, *, is_new: bool
    ) -> Iterator[Turn]:
        """Yield its text, calls of the frontend's tools, and what one gave; other calls are left out."""
        if self.role == "tool":
            if self.tool_call_id and self.tool_call_id not in server_calls:
                yield ClientOutput(self.tool_call_id, self.text)
        elif self.role in TEXT_ROLES:
            yield self.to_chat_turn(place, inputs, is_new=is_new)
        for call in self.tool_calls or []:
            if call.id not in server_calls:
                yield ClientCall(call.id, call.function.name, call.function.arguments)


class Context(LenientModel):
    """Something that the frontend wants the agent to know."""

    description: Text
    value: Text


class Resume(LenientModel):
    """What a person says to an interrupt; only a clear yes is one."""

    interrupt_id: UUID = Field(alias="interruptId", strict=False)
    status: Literal["resolved", "cancelled"]
    payload: Anything = None

    def to_decision(self) -> Answer:
        """Return it in our words."""
        payload = self.payload if isinstance(self.payload, dict) else {}
        is_allowed = self.status == "resolved" and payload.get("approved") is True
        return to_approval_decision(approve=is_allowed, reason=payload.get("reason"))


class Forwarded(LenientModel):
    """What the application passes on; it may be anything."""

    on_conflict: Name | None = None
    on_disconnect: OnDisconnect | None = None
    variables: Variables | None = Field(
        None, description="Values that the instructions of a tenant's agent name."
    )
    history: Literal["client", "stored"] | None = Field(
        None, description="`stored`: the thread's earlier messages are not sent, and nothing is superseded."
    )


def members_or_none(value: object) -> object:
    """Return an object, and nothing in place of anything else."""
    return value if isinstance(value, dict) else None


class RunAgentInput(LenientModel):
    """What AG-UI asks with."""

    thread_id: Text = Field(alias="threadId", description="A UUID is the conversation's id; else its name.")
    run_id: Text = Field(alias="runId")
    messages: Messages[Message]
    tools: Annotated[Parts[NamedFunction], Field(max_length=MAX_TOOLS)] = Field(
        [], description="Tools that the frontend executes."
    )
    state: Anything = None
    context: Parts[Context] = Field([], description="Told to the agent when a conversation begins.")
    resume: Parts[Resume] | None = Field(
        None, description="Answers to interrupts; the run goes on with them."
    )
    forwarded: Annotated[Forwarded | None, BeforeValidator(members_or_none)] = Field(
        None, alias="forwardedProps"
    )

    def translate(self, agent: AgentProfile, conversation_id: UUID, settings: Settings) -> RunRequest:
        """Return what is asked, in our words; raises UnsupportedContent.

        Raises InvalidParameter and ParameterNotAllowed for tools that cannot be offered.
        """
        turns = [*self._context_turns(), *self._turns(agent, inputs_of(settings, agent))]
        forwarded = self.forwarded or Forwarded()
        request = to_run_request(
            turns, agent.name, conversation_id, forwarded.on_conflict, forwarded.variables
        )
        places = {f"tools[{index}]": one for index, one in enumerate(self.tools)}
        tools = {place: one.to_client_tool(one.name, place) for place, one in places.items()}
        return replace(
            request,
            is_whole_history=True,
            replaces_history=forwarded.history != "stored",
            variables_place="forwardedProps.variables",
            options=tool_options(tools, agent, settings),
        )

    def _context_turns(self) -> Iterator[Turn]:
        for one in self.context:
            yield ChatTurn("developer", f"{one.description}: {one.value}")

    def _turns(self, agent: AgentProfile, inputs: Inputs) -> Iterator[Turn]:
        calls = [call for one in self.messages for call in one.tool_calls or []]
        server_calls = {call.id for call in calls if is_own_tool(call.function.name, agent)}
        newest = max((index for index, one in enumerate(self.messages) if one.role in TEXT_ROLES), default=0)
        for index, one in enumerate(self.messages):
            place = f"messages[{index}]"
            yield from one.to_turns(server_calls, place, inputs, is_new=index == newest)


@router.post(
    "/{name}/ag-ui",
    response_class=StreamingResponse,
    responses={200: responses.stream_response_doc("AG-UI events.")},
)
async def run_ag_ui_agent(  # noqa: PLR0913, PLR0917  # what FastAPI injects
    name: AgentName,
    body: RunAgentInput,
    caller: Writer,
    manager: ManagerDep,
    key: IdempotencyKey,
    limiter: ChatLimiter,
) -> StreamingResponse:
    """Answer the last message of a thread, or resume after an interrupt, as AG-UI events."""
    conversation_id = conversation_id_for(caller, body.thread_id)
    if body.resume:
        decisions = {one.interrupt_id: one.to_decision() for one in body.resume}
        run = await responses.find_waiting(manager, caller, conversation_id)
        async with limiter.admit("stream") as grant:
            started = await answer_approvals(manager, caller, run.id, decisions)
    else:
        agent = await manager.profile_of(caller.tenant_id, name)
        translated = body.translate(agent, conversation_id, manager.settings)
        async with limiter.admit("stream") as grant:
            started = await start_run(manager, caller, translated, key)
    encoder = AgUiEvents(started.run.id, Thread(body.thread_id, body.run_id, body.state))
    requested = body.forwarded.on_disconnect if body.forwarded else None
    handler = disconnect_handler(manager, caller, "ag_ui", requested, [started])
    return responses.streaming_response(manager, caller, started, grant, encoder, on_disconnect=handler)
