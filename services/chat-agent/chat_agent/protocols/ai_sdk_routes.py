"""The routes that the Vercel AI SDK's `useChat` speaks to."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, groupby
from typing import Annotated, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse
from pydantic import AliasChoices, BeforeValidator, Field
from servicekit.schemas import max_length

from chat_agent.api.deadlines import replay_deadline
from chat_agent.api.dependencies import IdempotencyKey, ManagerDep, Reader, Writer
from chat_agent.api.disconnects import disconnect_handler
from chat_agent.api.rate_limits import ChatLimiter, ReplayLimiter
from chat_agent.api.run_request import RunRequest
from chat_agent.api.start_run import answer_approvals, start_run
from chat_agent.attachments.request_data import MessageRoute
from chat_agent.execution.agent_graph import AgentProfile
from chat_agent.protocols import responses
from chat_agent.protocols.ai_sdk import HEADERS, UiMessageStream
from chat_agent.protocols.client_tools import MAX_TOOLS, FunctionFields, ToolName, tool_options
from chat_agent.protocols.media import Inputs, Media, MediaText, inputs_of, mixed_turn
from chat_agent.protocols.requests import (
    Anything,
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
    to_approval_decision,
    to_run_request,
)
from chat_agent.runs import store
from chat_agent.runs.options import ClientTool
from chat_agent.runs.schemas import Answer
from chat_agent.schemas import MAX_MESSAGE_BODY, Variables
from chat_agent.settings import OnDisconnect, Settings

router = APIRouter(
    prefix="/api/v1/chat/ui", tags=["chat"], route_class=MessageRoute, max_body_size=MAX_MESSAGE_BODY
)

ChatId = Annotated[str, Path(min_length=1, max_length=256)]
# The types of the parts that are calls of tools.
DYNAMIC_TOOL, STATIC_TOOL = "dynamic-tool", "tool-"
# The state of a call to which a person has said something, and nothing has come of it yet.
RESPONDED = "approval-responded"
STREAM = responses.stream_response_doc("The UI message stream protocol, version 1.")
RESUMED: responses.Responses = {200: STREAM, 204: {"description": "Nothing is being answered in this chat."}}


class ApprovalResponse(LenientModel):
    """What a person says to the call of a tool."""

    id: UUID = Field(strict=False)
    approved: bool | None = None
    reason: Text | None = None


class UiTool(FunctionFields):
    """A tool that the frontend executes; its parameters are called as in AG-UI, or as the AI SDK does."""

    parameters: Members | None = Field(None, validation_alias=AliasChoices("parameters", "inputSchema"))


class NamedUiTool(UiTool):
    """A tool with its name beside it."""

    name: ToolName


class UiMessagePart(LenientModel):
    """A part of a message: text, or the call of a tool of the frontend's and what it gave."""

    type: Name
    text: Text | None = None
    state: Name | None = None
    approval: ApprovalResponse | None = None
    # Of a `file`.
    media_type: Name | None = Field(None, alias="mediaType")
    filename: Name | None = None
    url: MediaText | None = None
    # Of a `dynamic-tool` or `tool-<name>`.
    tool_name: Name | None = Field(None, alias="toolName")
    tool_call_id: Name | None = Field(None, alias="toolCallId")
    provider_executed: bool | None = Field(None, alias="providerExecuted")
    input: Anything = None
    output: Anything = None
    error_text: Text | None = Field(None, alias="errorText")

    @property
    def called_tool(self) -> str | None:
        """Return the name of the frontend's tool whose call this is, if it is one."""
        if self.tool_call_id is None or self.provider_executed:
            return None
        return self.tool_name if self.type == DYNAMIC_TOOL else self.type.removeprefix(STATIC_TOOL)

    def to_media(self, place: str) -> Media:
        """Return the image or the file that it is."""
        kind = "image" if (self.media_type or "").startswith("image/") else "file"
        return Media(kind, self.url, place, filename=self.filename)

    def tool_turns(self) -> Iterator[Turn]:
        """Yield the call of one of the frontend's tools, and what it gave."""
        call_id = self.tool_call_id or ""
        yield ClientCall(call_id, self.called_tool or "", to_json(self.input))
        if self.state in {"output-available", "output-error"}:
            output = self.error_text if self.state == "output-error" else self.output
            yield ClientOutput(call_id, output if isinstance(output, str) else to_json(output))


# By name, as `frontendTools` of assistant-ui sends them, or in a list.
UiTools = (
    Annotated[dict[ToolName, UiTool], Field(max_length=MAX_TOOLS), BeforeValidator(max_length(MAX_TOOLS))]
    | Annotated[Parts[NamedUiTool], Field(max_length=MAX_TOOLS)]
)


class UiMessage(LenientModel):
    """A message that the frontend holds."""

    id: Name
    role: Literal["system", "user", "assistant"]
    parts: Parts[UiMessagePart]

    def to_turns(self, place: str, inputs: Inputs, *, is_new: bool) -> Iterator[Turn]:
        """Yield its text, and the calls of the frontend's tools where they were made."""
        for is_call, parts in groupby(enumerate(self.parts), lambda part: part[1].called_tool is not None):
            if is_call:
                yield from chain.from_iterable(part.tool_turns() for _, part in parts)
            else:
                mixed = [
                    part.text or "" if part.type == "text" else part.to_media(f"{place}.parts[{index}]")
                    for index, part in parts
                    if part.type in {"text", "file"}
                ]
                yield mixed_turn(self.role, mixed, inputs, is_new=is_new)


class UiRequest(LenientModel):
    """What `DefaultChatTransport` sends; `agent_type` goes into its `body`."""

    id: Annotated[Text, Field(min_length=1, max_length=256)] = Field(
        description="A UUID is the conversation's id; else its name."
    )
    messages: Messages[UiMessage]
    trigger: Literal["submit-message", "regenerate-message"] = Field(
        "submit-message", description="`regenerate-message` supersedes what was answered."
    )
    replaced_id: Name | None = Field(
        None, alias="messageId", description="The message that was edited; what came after it is superseded."
    )
    agent_type: Name = Field("triage", description="The agent that answers first.")
    tools: UiTools = Field(default_factory=dict, description="Tools that the frontend executes.")
    variables: Variables | None = Field(
        None, description="Values that the instructions of a tenant's agent name."
    )
    on_conflict: Name | None = Field(None, description="As in `POST /api/v1/chat`.")
    on_disconnect: OnDisconnect | None = Field(
        None, description="Whether the run is cancelled when the client disconnects, such as by `stop()`."
    )

    def approvals(self) -> dict[UUID, Answer]:
        """Return what was answered to calls of tools, if the last message holds such answers."""
        last = self.messages[-1].parts if self.messages and self.messages[-1].role == "assistant" else []
        return {
            one.approval.id: to_approval_decision(
                approve=one.approval.approved is True, reason=one.approval.reason
            )
            for one in last
            if one.approval is not None and one.state == RESPONDED
        }

    @property
    def replaces_history(self) -> bool:
        """Return whether the messages differ from those that were sent before."""
        is_edited = self.replaced_id is not None and self.messages[-1].id == self.replaced_id
        return self.trigger == "regenerate-message" or (is_edited and self.messages[-1].role == "user")

    @property
    def message_id(self) -> str | None:
        """Return the id of the message that the answer is a part of, if there is one."""
        is_begun = self.messages and self.messages[-1].role == "assistant"
        return self.messages[-1].id if is_begun else None

    def translate(self, agent: AgentProfile, conversation_id: UUID, settings: Settings) -> RunRequest:
        """Return what is asked, in our words; raises UnsupportedContent.

        Raises InvalidParameter and ParameterNotAllowed for tools that cannot be offered.
        """
        inputs = inputs_of(settings, agent)
        newest = len(self.messages) - 1
        turns = [
            turn
            for index, one in enumerate(self.messages)
            for turn in one.to_turns(f"messages[{index}]", inputs, is_new=index == newest)
        ]
        request = to_run_request(turns, self.agent_type, conversation_id, self.on_conflict, self.variables)
        options = tool_options(self._client_tools(), agent, settings)
        return replace(
            request, is_whole_history=True, replaces_history=self.replaces_history, options=options
        )

    def _client_tools(self) -> dict[str, ClientTool]:
        if isinstance(self.tools, dict):
            named = {f"tools.{name}": (name, tool) for name, tool in self.tools.items()}
        else:
            named = {f"tools[{index}]": (one.name, one) for index, one in enumerate(self.tools)}
        return {place: tool.to_client_tool(name, place) for place, (name, tool) in named.items()}


@router.post("", response_class=StreamingResponse, responses={200: STREAM})
async def stream_ui_message(
    body: UiRequest, caller: Writer, manager: ManagerDep, key: IdempotencyKey, limiter: ChatLimiter
) -> StreamingResponse:
    """Answer the last message of a chat, or resume it after approvals, as a UI message stream."""
    conversation_id = conversation_id_for(caller, body.id)
    if decisions := body.approvals():
        run = await responses.find_waiting(manager, caller, conversation_id)
        async with limiter.admit("stream") as grant:
            started = await answer_approvals(manager, caller, run.id, decisions)
    else:
        agent = await manager.profile_of(caller.tenant_id, body.agent_type)
        translated = body.translate(agent, conversation_id, manager.settings)
        async with limiter.admit("stream") as grant:
            started = await start_run(manager, caller, translated, key)
    encoder = UiMessageStream(body.message_id)
    handler = disconnect_handler(manager, caller, "ui_messages", body.on_disconnect, [started])
    return responses.streaming_response(
        manager, caller, started, grant, encoder, HEADERS, on_disconnect=handler
    )


@router.get("/{chat_id}/stream", response_class=StreamingResponse, responses=RESUMED)
async def resume_ui_message(
    chat_id: ChatId, caller: Reader, manager: ManagerDep, limiter: ReplayLimiter
) -> Response:
    """Stream a chat's unfinished run from its beginning; 204 when there is none."""
    async with replay_deadline(), manager.database.begin() as session:
        run = await store.find_unfinished(session, caller, conversation_id_for(caller, chat_id))
    if run is None:
        return Response(status_code=204)
    return await responses.replay_response(manager, limiter, run.id, UiMessageStream(), HEADERS)


def to_json(value: object) -> str:
    """Return a value as the text of its JSON."""
    return orjson.dumps(value).decode()
