"""The routes that the Vercel AI SDK's `useChat` speaks to."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from chat_agent.api.rate_limits import AtDesk, Listener
from chat_agent.protocols import responses
from chat_agent.protocols.ai_sdk import HEADERS, UiMessageStream
from chat_agent.protocols.requests import (
    Asked,
    Messages,
    Name,
    Parts,
    Said,
    Text,
    Tolerant,
    UnsupportedContent,
    answer_of,
    asked_of,
    conversation_of,
    joined,
)
from chat_agent.runs import store
from chat_agent.schemas import MAX_CHAT_BODY, Answer

router = APIRouter(prefix="/api/v1/chat/ui", tags=["chat"], max_body_size=MAX_CHAT_BODY)

ChatId = Annotated[str, Path(min_length=1, max_length=256)]
# The state of a call to which a person has said something, and nothing has come of it yet.
RESPONDED = "approval-responded"
STREAM = responses.streams("The UI message stream protocol, version 1.")
RESUMED: responses.Responses = {200: STREAM, 204: {"description": "Nothing is being answered in this chat."}}


class Allowance(Tolerant):
    """What a person says to the call of a tool."""

    id: UUID = Field(strict=False)
    approved: bool | None = None
    reason: Text | None = None


class Part(Tolerant):
    """A part of a message; only text, and what was allowed, is read."""

    type: Name
    text: Text | None = None
    state: Name | None = None
    approval: Allowance | None = None


class UiMessage(Tolerant):
    """A message that the frontend holds."""

    id: Name
    role: Literal["system", "user", "assistant"]
    parts: Parts[Part]

    @property
    def has_file(self) -> bool:
        """Tell whether there is more in it than text."""
        return any(part.type == "file" for part in self.parts)

    def said(self) -> Said:
        """Give its text."""
        return Said(self.role, joined(part.text or "" for part in self.parts if part.type == "text"))


class UiRequest(Tolerant):
    """What `DefaultChatTransport` sends; `agent_type` goes into its `body`."""

    id: Annotated[Text, Field(min_length=1, max_length=256)] = Field(
        description="A UUID is the conversation's id; else its name."
    )
    messages: Messages[UiMessage]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    agent_type: Name = Field("triage", description="The agent that hears it first.")

    on_conflict: Name | None = Field(None, description="As in `POST /api/v1/chat`.")

    def approvals(self) -> dict[UUID, Answer]:
        """Give what was answered to calls of tools, if the last message holds such answers."""
        last = self.messages[-1].parts if self.messages and self.messages[-1].role == "assistant" else []
        return {
            one.approval.id: answer_of(approve=one.approval.approved is True, reason=one.approval.reason)
            for one in last
            if one.approval is not None and one.state == RESPONDED
        }

    def asked(self, conversation_id: UUID) -> Asked:
        """Give what is asked, in our words; raises UnsupportedContent when the last has files."""
        if self.messages and self.messages[-1].has_file:
            raise UnsupportedContent
        messages = [one.said() for one in self.messages]
        return asked_of(messages, self.agent_type, conversation_id, self.on_conflict)


@router.post("", response_class=StreamingResponse, responses={200: STREAM})
async def answer_ui(body: UiRequest, desk: AtDesk) -> StreamingResponse:
    """Answer the last message of a chat, or go on with what was allowed in it, as a UI message stream."""
    conversation_id = conversation_of(desk.caller, body.id)
    if given := body.approvals():
        admitted = await responses.allowed(desk, conversation_id, given)
    else:
        asked = body.asked(conversation_id)
        admitted = await desk.ask(asked.request, asked.prelude, streamed=True)
    return responses.streamed(desk.engine, admitted, UiMessageStream(), HEADERS)


@router.get("/{chat_id}/stream", response_class=StreamingResponse, responses=RESUMED)
async def resume_ui(chat_id: ChatId, ear: Listener) -> Response:
    """Hear from its beginning what is being answered in a chat; 204 when nothing is."""
    async with ear.engine.database.begin() as session:
        run = await store.live_in(session, ear.caller, conversation_of(ear.caller, chat_id))
    if run is None:
        return Response(status_code=204)
    return await responses.again(ear, run.id, UiMessageStream(), HEADERS)
