"""How a function becomes a tool: bounded in time and size, recorded, and called once where that matters."""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote
from uuid import UUID

import httpx2
from agents import Agent, FunctionTool, RunContextWrapper, function_tool
from agents.exceptions import ToolTimeoutError
from agents.tool_context import ToolContext
from servicekit import context as log_context
from servicekit.errors import ServiceError, Unavailable

from chat_agent.agents.approvals import Policy, approval_policy
from chat_agent.agents.inner_agents import invocation_span, wait_for_approvals
from chat_agent.agents.trust import is_untrusted, reached_from
from chat_agent.attachments.model_input import AttachmentReader
from chat_agent.clients.conversation import ConversationClient
from chat_agent.errors import (
    GuardrailTriggered,
    GuardrailUnavailable,
    Superseded,
    ToolFailed,
    ToolOutcomeUnknown,
)
from chat_agent.guardrails.taint import Taint
from chat_agent.isolation import CodeExited, Isolated
from chat_agent.memory.run_memory import RunMemory
from chat_agent.model.failure_log import tool_failed
from chat_agent.model.failures import causes
from chat_agent.model.tool_guard import ToolGuard
from chat_agent.runs.call import Call, CallResult
from chat_agent.runs.nested_calls import OUTER_CALL, within_call
from chat_agent.runs.tool_calls import ToolCallJournal
from chat_agent.runs.tool_errors import tool_error_code
from chat_agent.tool_settings import S, load_settings

TIMEOUT_SECONDS = 15.0
# What a model can make use of, and a conversation can keep; in characters.
MAX_OUTPUT = 50_000
MAX_ARGUMENTS = 100_000
# An agent that is called as a tool calls models and tools itself.
AGENT_SECONDS = 120.0
RETRY_SECONDS = 0.2
# What may pass when a call is made again.
TRANSIENT = (OSError, httpx2.TransportError, Unavailable)
# What a tool gave that no model may read, or that nobody could check.
REFUSED = "[A guardrail does not allow this output.]"
# What a call within a call of an agent raises where nothing more may be done.
FATAL = (Superseded, ToolOutcomeUnknown)
logger = logging.getLogger("chat_agent.tool")


@dataclass(frozen=True)
class RunContext:
    """For whom a run works; tools reach what is theirs through it. The model never sees it."""

    tenant_id: UUID
    # `user:<id>` of a person, `service:<client id>` of an application, with `/<name>` for its end user.
    user_id: str
    run_id: UUID
    conversation_id: UUID
    # Reaches public hosts only, and those that the operator allows.
    http: httpx2.AsyncClient
    conversations: ConversationClient
    journal: ToolCallJournal
    attachments: AttachmentReader
    # Whether the run has read content of others.
    taint: Taint
    # Returns a secret of the tenant; raises SecretNotFound.
    read_secret: Callable[[str], Awaitable[str]]
    # Of agents that recall what they know of the person, or note it.
    memory: RunMemory | None = None
    # Checks what tools give, for the service.
    tool_guard: ToolGuard | None = None
    # What a person has changed in calls that they approved, by the id of the call.
    edited_arguments: dict[str, str] = field(default_factory=dict)
    # Where the person has to sign in before a call, by the id of the call.
    sign_ins: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Its lines have the ids of the run, the tenant and the call.
    logger: logging.Logger = logger

    @property
    def person_id(self) -> str | None:
        """The id of the person; none for an application."""
        kind, _, id_ = self.user_id.partition(":")
        return id_ if kind == "user" else None

    @property
    def end_user(self) -> str | None:
        """The end user for whom an application calls, by the application's name for them."""
        return unquote(self.user_id.partition("/")[2]) or None

    def settings(self, kind: type[S]) -> S:
        """Return the settings of a tool; raises ValidationError where one is missing."""
        loaded: S = load_settings(kind)
        return loaded


Audience = Literal["everyone", "members"]


@dataclass(frozen=True)
class Limits:
    """How a tool may be called."""

    is_idempotent: bool
    seconds: float
    retries: int
    max_output: int
    # Whether nobody else writes what it gives; an agent that has read such content is trusted less.
    is_trusted: bool = False


def tool(  # noqa: PLR0913  # what can be said of a tool
    *,
    needs_approval: Policy | Sequence[Policy] = False,
    trusted: bool = True,
    idempotent: bool = True,
    seconds: float = TIMEOUT_SECONDS,
    retries: int = 0,
    max_output: int = MAX_OUTPUT,
    audience: Audience = "everyone",
) -> Callable[[Callable[..., Any]], FunctionTool]:
    """Build a tool of a function.

    `needs_approval`: a person is asked before each call, before one whose arguments match a JSON schema, or
    (`"when_tainted"`) when the run has read untrusted content; with a list, where any of them says so.
    `trusted=False`: its output may hold what others have written, such as a page of the web.
    `idempotent=False`: a call is never made a second time, whatever happens to the process that makes it.
    `audience="members"`: not for the end users of applications.
    """
    if retries and not idempotent:
        raise ValueError("a call that must not be made twice cannot be retried")
    limits = Limits(idempotent, seconds, retries, max_output, trusted)

    def decorate(function: Callable[..., Any]) -> FunctionTool:
        plain = function_tool(
            function,
            needs_approval=approval_policy(needs_approval),
            is_enabled=is_for_members if audience == "members" else True,
            failure_error_function=None,
        )
        return guarded(plain, limits, counted_as=plain.name)

    return decorate


def agent_tool(
    agent: Agent[RunContext], description: str | None = None, *, seconds: float = AGENT_SECONDS
) -> FunctionTool:
    """Build a tool of an agent: it answers one question, and the conversation remains with its caller."""
    plain = agent.as_tool(
        f"ask_{agent.name}", description or agent.handoff_description, failure_error_function=None
    )
    limits = Limits(is_idempotent=True, seconds=seconds, retries=0, max_output=MAX_OUTPUT)
    return guarded(plain, limits, agent, counted_as="agent")


def guarded(
    tool: FunctionTool, limits: Limits, agent: Agent[RunContext] | None = None, *, counted_as: str
) -> FunctionTool:
    """Return a tool, maybe of an agent, whose calls are limited and recorded.

    `counted_as` is what metrics call it: its name, or its kind where tenants choose names.
    """
    return dataclasses.replace(tool, on_invoke_tool=GuardedTool(tool, limits, counted_as, agent))


def is_for_members(context: RunContextWrapper[RunContext], _agent: object) -> bool:
    """Return whether a run works for a person of the tenant, or for an application itself."""
    return context.context.end_user is None


@dataclass(frozen=True)
class GuardedTool:
    """Calls a tool."""

    tool: FunctionTool
    limits: Limits
    counted_as: str
    agent: Agent[RunContext] | None = None
    # Checks what it gives, for the agent that uses it.
    guard: ToolGuard | None = None

    @property
    def is_trusted(self) -> bool:
        """Whether nobody else writes its output; of an agent, whether that is so for all that it may call."""
        if self.agent is None:
            return self.limits.is_trusted
        agents = reached_from(self.agent)
        return not any(map(is_untrusted, (tool for agent in agents for tool in agent.tools)))

    async def __call__(self, context: ToolContext[RunContext], arguments: str) -> str:
        """Call the tool; raises GuardrailTriggered, and ToolOutcomeUnknown where an earlier call has none."""
        run = context.context
        edited = run.edited_arguments.get(context.tool_call_id)
        call = Call(
            call_id=context.tool_call_id,
            agent=context.agent.name if context.agent else "",
            name=self.tool.name,
            arguments=edited or arguments,
            is_idempotent=self.limits.is_idempotent,
            parent_call_id=OUTER_CALL.get(),
        )
        ids = {**log_context.current(), "tool": call.name, "call_id": call.call_id}
        refusals: list[ServiceError] = []
        with log_context.scope(**ids):
            output = await run.journal.record(call, lambda: self._checked(context, call.arguments, refusals))
        if refusals:
            raise refusals[0]
        run.taint.is_marked = run.taint.is_marked or not self.is_trusted
        return output if edited is None else f"{output}\n[The person changed the arguments to {edited}]"

    async def _checked(
        self, context: ToolContext[RunContext], arguments: str, refusals: list[ServiceError]
    ) -> CallResult:
        """Return what a model may read of a result; add why it may not."""
        run = context.context
        try:
            result = await self._result(context, arguments)
            for guard in (run.tool_guard, self.guard):
                if guard is not None and result.status != "waiting":
                    output = await guard.output(result.output, run.taint.items)
                    result = dataclasses.replace(result, output=output)
        except FATAL:
            raise
        except ServiceError as error:
            refusals.append(error)
            return CallResult(REFUSED, "failed", tool_error_code(error))
        return result

    async def _result(self, context: ToolContext[RunContext], arguments: str) -> CallResult:
        try:
            if len(arguments) > MAX_ARGUMENTS:
                raise ToolFailed(f"The arguments have more than {MAX_ARGUMENTS} characters.")
            with within_call(context.tool_call_id), invocation_span(self.agent):
                output = await self._output(context, arguments)
        except Exception as error:  # whatever a tool raises, the model is told and the run goes on
            for cause in causes(error):
                if isinstance(cause, (GuardrailTriggered, GuardrailUnavailable, *FATAL)):
                    raise cause from None
            status = "timed_out" if isinstance(error, ToolTimeoutError) else "failed"
            message = limited_output(tool_failed(self.tool.name, error, self.counted_as), MAX_OUTPUT)
            return CallResult(message, status, tool_error_code(error))
        if self.agent is not None and wait_for_approvals(context):
            return CallResult("", "waiting")
        return CallResult(limited_output(output, self.limits.max_output))

    async def _output(self, context: ToolContext[RunContext], arguments: str) -> str:
        try:
            async with asyncio.timeout(self.limits.seconds) as deadline:
                return await self._call(context, arguments)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise ToolTimeoutError(self.tool.name, self.limits.seconds) from None

    async def _call(self, context: ToolContext[RunContext], arguments: str) -> str:
        for attempt in range(self.limits.retries):
            try:
                return await self._invoke(context, arguments)
            except TRANSIENT:
                await asyncio.sleep(RETRY_SECONDS * 2**attempt)
        return await self._invoke(context, arguments)

    async def _invoke(self, context: ToolContext[RunContext], arguments: str) -> str:
        """Call the function; raises CodeExited in place of what would end more than the call."""
        try:
            text: str = await Isolated(self._text(context, arguments))
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise CodeExited from error
        return text

    async def _text(self, context: ToolContext[RunContext], arguments: str) -> str:
        invoke: Callable[..., Awaitable[object]] = self.tool.on_invoke_tool
        return str(await invoke(context, arguments))


def is_cancelled() -> bool:
    """Return whether somebody has cancelled the current task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def limited_output(output: str, size: int) -> str:
    """Truncate output that is too long, and replace NUL and unpaired surrogates."""
    cut = output[:size].replace("\x00", "\N{REPLACEMENT CHARACTER}")
    text = cut.encode(errors="replace").decode()
    more = len(output) - size
    return f"{text} [cut: {more} more characters]" if more > 0 else text
