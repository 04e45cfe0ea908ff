"""The route that AG-UI's clients speak to."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator, Field

from chat_agent.api.dependencies import AgentName, IdempotencyKey, ManagerDep, Writer
from chat_agent.api.rate_limits import ChatLimiter
from chat_agent.api.start_run import RunRequest, answer_approvals, start_run
from chat_agent.protocols import responses
from chat_agent.protocols.ag_ui import AgUiEvents, Thread
from chat_agent.protocols.requests import (
    Anything,
    ChatTurn,
    LenientModel,
    Members,
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
from chat_agent.schemas import MAX_CHAT_BODY, Answer

router = APIRouter(prefix="/api/v1/agents", tags=["agents"], max_body_size=MAX_CHAT_BODY)

# Messages with other roles are about what the frontend shows, or about tools of its own.
TEXT_ROLES = {"developer", "system", "user", "assistant"}


class Part(LenientModel):
    """A part of a message."""

    type: Name
    text: Text | None = None


class Message(LenientModel):
    """A message that the frontend holds."""

    id: Name
    role: Literal["developer", "system", "user", "assistant", "tool", "activity", "reasoning"]
    content: Text | Parts[Part] | Members | None = None

    @property
    def is_text(self) -> bool:
        """Return whether there is nothing else in it: no pictures and the like."""
        return not isinstance(self.content, list) or all(part.text is not None for part in self.content)

    def to_turn(self) -> ChatTurn:
        """Return its text."""
        if isinstance(self.content, list):
            return ChatTurn(self.role, join_text(part.text or "" for part in self.content))
        return ChatTurn(self.role, self.content if isinstance(self.content, str) else "")


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


def members_or_none(value: object) -> object:
    """Return an object, and nothing in place of anything else."""
    return value if isinstance(value, dict) else None


class RunAgentInput(LenientModel):
    """What AG-UI asks with. `tools` are ignored: the server runs the tools."""

    thread_id: Text = Field(alias="threadId", description="A UUID is the conversation's id; else its name.")
    run_id: Text = Field(alias="runId")
    messages: Messages[Message]
    state: Anything = None
    context: Parts[Context] = Field([], description="Told to the agent when a conversation begins.")
    resume: Parts[Resume] | None = Field(
        None, description="Answers to interrupts; the run goes on with them."
    )
    forwarded: Annotated[Forwarded | None, BeforeValidator(members_or_none)] = Field(
        None, alias="forwardedProps"
    )

    def translate(self, agent: str, conversation_id: UUID) -> RunRequest:
        """Return what is asked, in our words; raises UnsupportedContent when the last message is not text."""
        context = [ChatTurn("developer", f"{one.description}: {one.value}") for one in self.context]
        messages = [one for one in self.messages if one.role in TEXT_ROLES]
        if messages and not messages[-1].is_text:
            raise UnsupportedContent
        on_conflict = self.forwarded.on_conflict if self.forwarded else None
        return to_run_request(
            [*context, *(one.to_turn() for one in messages)], agent, conversation_id, on_conflict
        )


@router.post(
    "/{name}/ag-ui",
    response_class=StreamingResponse,
    responses={200: responses.stream_response_doc("AG-UI events.")},
)
async def run_agent(  # noqa: PLR0913, PLR0917  # what FastAPI injects
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
        translated = body.translate(name, conversation_id)
        async with limiter.admit("stream") as grant:
            started = await start_run(manager, caller, translated, key)
    encoder = AgUiEvents(started.run.id, Thread(body.thread_id, body.run_id, body.state))
    return responses.streaming_response(manager, caller, started, grant, encoder)
