"""The route that AG-UI's clients speak to."""

from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from chat_agent.api.dependencies import AgentName
from chat_agent.api.rate_limits import AtDesk
from chat_agent.protocols import responses
from chat_agent.protocols.ag_ui import AgUiEvents, Thread
from chat_agent.protocols.requests import (
    Asked,
    Members,
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
from chat_agent.schemas import MAX_CHAT_BODY, Answer

router = APIRouter(prefix="/api/v1/agents", tags=["agents"], max_body_size=MAX_CHAT_BODY)

# Messages with other roles are about what the frontend shows, or about tools of its own.
TOLD = {"developer", "system", "user", "assistant"}


class Part(Tolerant):
    """A part of a message."""

    type: Name
    text: Text | None = None


class Message(Tolerant):
    """A message that the frontend holds."""

    id: Name
    role: Literal["developer", "system", "user", "assistant", "tool", "activity", "reasoning"]
    content: Text | Parts[Part] | Members | None = None

    @property
    def is_text(self) -> bool:
        """Tell whether there is nothing else in it: no pictures and the like."""
        return not isinstance(self.content, list) or all(part.text is not None for part in self.content)

    def said(self) -> Said:
        """Give its text."""
        if isinstance(self.content, list):
            return Said(self.role, joined(part.text or "" for part in self.content))
        return Said(self.role, self.content if isinstance(self.content, str) else "")


class Context(Tolerant):
    """Something that the frontend wants the agent to know."""

    description: Text
    value: Text


class Resume(Tolerant):
    """What a person says to an interrupt; only a clear yes is one."""

    interrupt_id: UUID = Field(alias="interruptId", strict=False)
    status: Literal["resolved", "cancelled"]
    payload: Any = None

    def answer(self) -> Answer:
        """Give it in our words."""
        told = self.payload if isinstance(self.payload, dict) else {}
        is_allowed = self.status == "resolved" and told.get("approved") is True
        return answer_of(approve=is_allowed, reason=told.get("reason"))


class Forwarded(Tolerant):
    """What the application passes on."""

    on_conflict: Name | None = None


class RunAgentInput(Tolerant):
    """What AG-UI asks with. `tools` are ignored: the server runs the tools."""

    thread_id: Text = Field(alias="threadId", description="A UUID is the conversation's id; else its name.")
    run_id: Text = Field(alias="runId")
    messages: Messages[Message]
    state: Any = None
    context: Parts[Context] = Field([], description="Told to the agent when a conversation begins.")
    resume: Parts[Resume] | None = Field(
        None, description="Answers to interrupts; the run goes on with them."
    )
    forwarded: Forwarded | None = Field(None, alias="forwardedProps")

    def asked(self, agent: str, conversation_id: UUID) -> Asked:
        """Give what is asked, in our words; raises UnsupportedContent when the last message is not text."""
        context = [Said("developer", f"{one.description}: {one.value}") for one in self.context]
        told = [one for one in self.messages if one.role in TOLD]
        if told and not told[-1].is_text:
            raise UnsupportedContent
        on_conflict = self.forwarded.on_conflict if self.forwarded else None
        return asked_of([*context, *(one.said() for one in told)], agent, conversation_id, on_conflict)


@router.post(
    "/{name}/ag-ui",
    response_class=StreamingResponse,
    responses={200: responses.streams("AG-UI events.")},
)
async def run_agent(name: AgentName, body: RunAgentInput, desk: AtDesk) -> StreamingResponse:
    """Answer the last message of a thread, or go on with what was interrupted, as AG-UI events."""
    conversation_id = conversation_of(desk.caller, body.thread_id)
    if body.resume:
        given = {one.interrupt_id: one.answer() for one in body.resume}
        admitted = await responses.allowed(desk, conversation_id, given)
    else:
        asked = body.asked(name, conversation_id)
        admitted = await desk.ask(asked.request, asked.prelude, streamed=True)
    thread = Thread(body.thread_id, body.run_id, body.state)
    return responses.streamed(desk.engine, admitted, AgUiEvents(admitted.turn.run.id, thread))
