"""What a run shall answer, whichever protocol it came by; with masks, and with its content stored."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

from pydantic import JsonValue
from servicekit.auth.tokens import Principal

from chat_agent.agent_definitions.selection import AgentSelection
from chat_agent.agent_definitions.variables import check_values
from chat_agent.api.deadlines import transaction
from chat_agent.api.message_lengths import check_length
from chat_agent.api.variables import versions_of_calls
from chat_agent.attachments.references import resolve_files
from chat_agent.attachments.uploads import Blob, resolve_uploads
from chat_agent.errors import GuardrailTriggered
from chat_agent.execution.manager import RunManager
from chat_agent.guardrails.audit import record_triggered
from chat_agent.guardrails.messages import MessageGuard
from chat_agent.models import Run
from chat_agent.runs.options import NO_OPTIONS, ClientTool, RunOptions
from chat_agent.schemas import ChatRequest

Persistence = Literal["permanent", "temporary", "none"]
# Items of the SDK: what was said elsewhere before.
History = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class RunRequest:
    """What a run shall answer: a message, or what its caller's tools gave, and what goes with it."""

    chat: ChatRequest
    # The parts of the message, where it is not only text.
    content: Sequence[dict[str, Any]] = ()
    # The content of the images and files that the parts refer to, by digest.
    blobs: Mapping[str, Blob] = field(default_factory=dict)
    # The uploaded files that they refer to, and their sizes.
    files: Mapping[UUID, int] = field(default_factory=dict)
    # What was said before, as far as the client tells it; it counts where the conversation is new.
    prelude: History = ()
    # In place of a message.
    tool_outputs: History = ()
    # Whether the prelude is all that the client knows of the conversation, which may be known here, too.
    is_whole_history: bool = False
    # Whether what is stored of the conversation and differs from the prelude is superseded.
    replaces_history: bool = False
    options: RunOptions = NO_OPTIONS
    persistence: Persistence = "permanent"
    # The run that is continued, unless another one has continued it before.
    previous: Run | None = None
    # The agent that goes on with the outputs of tools, in a branch.
    first_agent: str | None = None
    # In place of the version of the agent that answers.
    selection: AgentSelection | None = None
    # Where the client has sent the values of variables.
    variables_place: str = "variables"

    @property
    def attachment_bytes(self) -> int:
        """The size of the images and files that the parts refer to."""
        return sum(len(blob.content) for blob in self.blobs.values()) + sum(self.files.values())


async def prepare_request(
    manager: RunManager, caller: Principal, request: RunRequest, agent: AgentSelection, model: str
) -> RunRequest:
    """Check a request, and return it with masks and stored content in place of what was sent.

    Raises ToolCallNotFound, MessageTooLong, InvalidAttachment, GuardrailTriggered.
    """
    chat = request.chat
    going_on = await versions_of_calls(manager, caller, chat, request.tool_outputs, agent)
    check_values(going_on, chat.variables, request.variables_place)
    check_length(manager.settings, model, chat.message, request.prelude)
    request = await with_masks(manager, caller, request, agent)
    return await with_stored_content(manager, caller, request)


async def with_masks(
    manager: RunManager, caller: Principal, request: RunRequest, agent: AgentSelection
) -> RunRequest:
    """Return a request with the masks of all guardrails; raises GuardrailTriggered, which is recorded."""
    async with recorded_refusals(manager, caller, agent=request.chat.agent_type):
        for guard in guards_of(manager, agent, agent.name):
            request = await mask_request(guard, request)
    return request


def guards_of(manager: RunManager, selection: AgentSelection, *agents: str) -> list[MessageGuard]:
    """Return the guards of the service and of agents, those that have something to check."""
    own = [selection.definitions[name].guardrails for name in agents if name in selection.definitions]
    guards = [manager.guard, *(MessageGuard(one.config) for one in own if one is not None)]
    return [guard for guard in guards if not guard.is_empty]


@asynccontextmanager
async def recorded_refusals(
    manager: RunManager, caller: Principal, **about: JsonValue
) -> AsyncIterator[None]:
    """Record in the tenant's audit log when a guardrail refuses what the caller writes."""
    assert caller.tenant_id  # noqa: S101  # the token of a person has one
    try:
        yield
    except GuardrailTriggered as error:
        async with transaction(manager.database) as session:
            detail = {**about, **error.extensions}
            record_triggered(session, caller.tenant_id, caller.user_id, caller.session_id, **detail)
        raise


async def mask_request(guard: MessageGuard, request: RunRequest) -> RunRequest:
    """Return a request with the masks of one guard; raises GuardrailTriggered."""
    content = await guard.parts(request.content)
    # Where there are parts, their texts are the message.
    texts = [text for part in content if (text := part.get("text"))]
    message = "\n".join(texts) if content else await guard.text(request.chat.message)
    variables = await guard.json(request.chat.variables)
    chat = request.chat.model_copy(update={"message": message, "variables": variables})
    is_dry_run = request.selection is not None and request.selection.is_dry_run
    return replace(
        request,
        chat=chat,
        content=content,
        prelude=await guard.history(request.prelude),
        tool_outputs=await guard.history(request.tool_outputs),
        # The tools of a dry run are those of its definition.
        options=request.options if is_dry_run else await mask_options(guard, request.options),
    )


async def mask_options(guard: MessageGuard, options: RunOptions) -> RunOptions:
    """Return options with the masks of what models read of them; raises GuardrailTriggered."""
    output = options.output
    if output is not None:
        await guard.require_clean(output.name)
        output = output.model_copy(update={"json_schema": await guard.json(output.json_schema)})
    tools = [await mask_tool(guard, tool) for tool in options.tools]
    changes = {"output": output, "tools": tools} if output is not None or tools else {}
    return options.model_copy(update=changes)


async def mask_tool(guard: MessageGuard, tool: ClientTool) -> ClientTool:
    """Return a tool of the caller with the masks of what models read of it; raises GuardrailTriggered."""
    await guard.require_clean(tool.name)
    format_ = tool.input_format
    if format_ and "definition" in format_:
        format_ = {**format_, "definition": await guard.text(format_["definition"])}
    return tool.model_copy(
        update={
            "description": await mask_text(guard, tool.description),
            "namespace_description": await mask_text(guard, tool.namespace_description),
            "parameters": await guard.json(tool.parameters),
            "input_format": format_,
        }
    )


async def mask_text(guard: MessageGuard, text: str | None) -> str | None:
    """Return a text, if there is one, with its masks; raises GuardrailTriggered."""
    return None if text is None else await guard.text(text)


async def with_stored_content(manager: RunManager, caller: Principal, request: RunRequest) -> RunRequest:
    """Return a request whose parts refer to their images and files; raises InvalidAttachment."""
    if not request.content and not request.prelude:
        return request
    items: History = [*request.prelude, {"content": [*request.content]}]
    items, files = await resolve_files(
        manager.database, caller, items, manager.settings.max_message_body_bytes
    )
    (*prelude, message), blobs = await resolve_uploads(items)
    return replace(request, prelude=prelude, content=message["content"], blobs=blobs, files=files)
