"""The routes that the Vercel AI SDK's `useChat` speaks to."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from chat_agent.api.dependencies import IdempotencyKey, ManagerDep, Reader, Writer
from chat_agent.api.rate_limits import ChatLimiter, ReplayLimiter
from chat_agent.api.start_run import RunRequest, answer_approvals, start_run
from chat_agent.protocols import responses
from chat_agent.protocols.ai_sdk import HEADERS, UiMessageStream
from chat_agent.protocols.requests import (
    ChatTurn,
    LenientModel,
    Messages,
    Name,
    Parts,
    Text,
    UnsupportedContent,
    conversation_id_for,
    join_text,
    to_approval_decision,
    to_run_request,
)
from chat_agent.runs import store
from chat_agent.schemas import MAX_CHAT_BODY, Answer

router = APIRouter(prefix="/api/v1/chat/ui", tags=["chat"], max_body_size=MAX_CHAT_BODY)

ChatId = Annotated[str, Path(min_length=1, max_length=256)]
# The state of a call to which a person has said something, and nothing has come of it yet.
RESPONDED = "approval-responded"
STREAM = responses.stream_response_doc("The UI message stream protocol, version 1.")
RESUMED: responses.Responses = {200: STREAM, 204: {"description": "Nothing is being answered in this chat."}}


class ApprovalResponse(LenientModel):
    """What a person says to the call of a tool."""

    id: UUID = Field(strict=False)
    approved: bool | None = None
    reason: Text | None = None


class Part(LenientModel):
    """A part of a message; only text, and what was allowed, is read."""

    type: Name
    text: Text | None = None
    state: Name | None = None
    approval: ApprovalResponse | None = None


class UiMessage(LenientModel):
    """A message that the frontend holds."""

    id: Name
    role: Literal["system", "user", "assistant"]
    parts: Parts[Part]

    @property
    def has_file(self) -> bool:
        """Return whether there is more in it than text."""
        return any(part.type == "file" for part in self.parts)

    def to_turn(self) -> ChatTurn:
        """Return its text."""
        return ChatTurn(self.role, join_text(part.text or "" for part in self.parts if part.type == "text"))


class UiRequest(LenientModel):
    """What `DefaultChatTransport` sends; `agent_type` goes into its `body`."""

    id: Annotated[Text, Field(min_length=1, max_length=256)] = Field(
        description="A UUID is the conversation's id; else its name."
    )
    messages: Messages[UiMessage]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    agent_type: Name = Field("triage", description="The agent that hears it first.")

    on_conflict: Name | None = Field(None, description="As in `POST /api/v1/chat`.")

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

    def translate(self, conversation_id: UUID) -> RunRequest:
        """Return what is asked, in our words; raises UnsupportedContent when the last has files."""
        if self.messages and self.messages[-1].has_file:
            raise UnsupportedContent
        messages = [one.to_turn() for one in self.messages]
        return to_run_request(messages, self.agent_type, conversation_id, self.on_conflict)


@router.post("", response_class=StreamingResponse, responses={200: STREAM})
async def answer_ui(
    body: UiRequest, caller: Writer, manager: ManagerDep, key: IdempotencyKey, limiter: ChatLimiter
) -> StreamingResponse:
    """Answer the last message of a chat, or resume it after approvals, as a UI message stream."""
    conversation_id = conversation_id_for(caller, body.id)
    if decisions := body.approvals():
        run = await responses.find_waiting(manager, caller, conversation_id)
        async with limiter.admit("stream") as grant:
            started = await answer_approvals(manager, caller, run.id, decisions)
    else:
        translated = body.translate(conversation_id)
        async with limiter.admit("stream") as grant:
            started = await start_run(manager, caller, translated, key)
    return responses.streaming_response(manager, caller, started, grant, UiMessageStream(), HEADERS)


@router.get("/{chat_id}/stream", response_class=StreamingResponse, responses=RESUMED)
async def resume_ui(chat_id: ChatId, caller: Reader, manager: ManagerDep, limiter: ReplayLimiter) -> Response:
    """Stream a chat's unfinished run from its beginning; 204 when there is none."""
    async with manager.database.begin() as session:
        run = await store.find_unfinished(session, caller, conversation_id_for(caller, chat_id))
    if run is None:
        return Response(status_code=204)
    return await responses.replay_response(manager, limiter, run.id, UiMessageStream(), HEADERS)
