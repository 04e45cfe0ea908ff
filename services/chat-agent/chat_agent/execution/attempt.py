"""One attempt of a run: from the stored state to its result, in this process."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from agents import Agent, Runner, RunState, TResponseInputItem

from chat_agent.agent_definitions.builder import Graph
from chat_agent.agent_definitions.limits import limits_of, service_limits
from chat_agent.agents import AGENTS
from chat_agent.agents.tool import RunContext
from chat_agent.agents.trust import trusted_names
from chat_agent.clients.conversation import ConversationClient
from chat_agent.clients.retry import DatabaseOutage, retry_database, retry_transaction
from chat_agent.errors import (
    CheckpointInvalid,
    InternalError,
    RunTimedOut,
    Superseded,
    ToolOutcomeUnknown,
    WorkerLost,
)
from chat_agent.event_log import recovery
from chat_agent.event_log.buffer import EventBuffer
from chat_agent.event_log.store import EventType
from chat_agent.event_log.translator import EventTranslator
from chat_agent.execution.agent_graph import setting_names, uses_of, with_options, with_settings
from chat_agent.execution.compaction.run_compaction import RunCompaction, policy_of
from chat_agent.execution.handoff_limits import HandoffLimits
from chat_agent.execution.interruption import Interruption, client_calls, interruption_of, resume_state
from chat_agent.execution.services import RunServices
from chat_agent.execution.session import ConversationSession
from chat_agent.execution.stopping import result_unless_stopped
from chat_agent.execution.unfinished_turn import UnfinishedTurn
from chat_agent.guardrails.taint import Taint
from chat_agent.guardrails.text_filter import is_about_message
from chat_agent.memory.run_memory import memory_of
from chat_agent.model import failures
from chat_agent.model.caller_texts import CALLER, Caller
from chat_agent.model.fallbacks import ON_FALLBACK
from chat_agent.model.provider import ERROR_HANDLERS
from chat_agent.model.request import CALLER_SETTINGS
from chat_agent.model.usage import UsageMeter
from chat_agent.models import Run, RunStatus
from chat_agent.provider_keys.keys import has_own_key
from chat_agent.runs import superseded
from chat_agent.runs.nested_calls import NestedCalls
from chat_agent.runs.options import NO_OPTIONS, RunOptions
from chat_agent.runs.outcome import Outcome, with_failure
from chat_agent.runs.tool_calls import ToolCallJournal, missing_items, outcome_unknown_message

logger = logging.getLogger(__name__)

MAX_LOSSES = 5


class Attempt:
    """Restores a run's state, and executes its agent until it ends, waits for a person, or is stopped."""

    def __init__(  # noqa: PLR0913, PLR0917  # what an attempt is made of
        self,
        run: Run,
        services: RunServices,
        log: EventBuffer,
        meter: UsageMeter,
        before_store: Callable[[], Awaitable[None]],
        checkpoint: Callable[[], Awaitable[None]],
    ) -> None:
        self.run = run
        self._services = services
        self._settings = services.settings
        self._log = log
        self._meter = meter
        self._stop_requested = asyncio.Event()
        self._options = RunOptions.model_validate(run.options)
        self._first_agent = run.first_agent or run.agent
        self._agents: Graph = {}
        self.compaction: RunCompaction | None = None
        self._limits = service_limits(services.settings)
        self._journal = ToolCallJournal(services.database, run, NestedCalls(log))
        failed_calls = self._journal.failed
        # A run whose agent is gone needs a name all the same; it ends with CheckpointInvalid.
        first = AGENTS.get(self._first_agent) or Agent[RunContext](name=self._first_agent)
        wants_logprobs = self._options.top_logprobs is not None
        self._translator = EventTranslator(
            log, first, self._options.tool_names, failed_calls, wants_logprobs=wants_logprobs
        )
        conversations = ConversationClient(services.conversations, run.tenant_id, run.user_id)
        self._session = ConversationSession(conversations, run, services.settings, before_store, checkpoint)
        self._turn = UnfinishedTurn(run, services.database, self._session, self._journal, self._translator)
        self._config = with_settings(services.config, self._options)
        taint = Taint(
            self._session.visible_items, lambda: trusted_names(self._agents), self._journal.answered
        )
        self._context = services.run_context(run, conversations, self._journal, taint)

    @property
    def final_answer(self) -> str | None:
        """The answer that ends the run, if the agent has given it."""
        return recovery.final_answer(self._session.new_items, is_truncated=self.run.is_truncated)

    async def delete_conversation(self) -> None:
        """Delete the conversation of a run that is not stored; it expires where that fails."""
        await self._session.delete()

    def stop(self) -> None:
        """Stop the agent as the run's `stop` says."""
        self._stop_requested.set()

    def outcome(self, status: RunStatus, output: str | None, code: str | None = None) -> Outcome:
        """Return how the run ends, with its agent, handoffs and usage."""
        agent, handoffs = self._translator.agent.name, self._translator.handoffs
        return Outcome(status, agent, handoffs, output, self._meter.total(), code)

    async def result(self, *, is_new_conversation: bool) -> Outcome | Interruption:
        """Return how the run ends or what it waits for; raises only Superseded and DatabaseOutage."""
        CALLER_SETTINGS.set(setting_names(self._options.model_settings))
        ON_FALLBACK.set(self._fell_back)
        # A dry run has the tools of its definition in place of a caller's.
        CALLER.set(Caller(self.run.tenant_id, NO_OPTIONS if self.run.definition else self._options))
        try:
            await self._load_agents()
            await self._restore(is_new_conversation=is_new_conversation)
            stored = self._stored_outcome()
            if stored is not None and self.run.stop != "rollback":
                return stored
            return await self._run_until_stopped()
        except Superseded:
            raise
        except Exception as error:  # whatever it is, the run must end, and with a code
            # But for what is nobody's fault here: the run continues when the database is back.
            if any(isinstance(cause, DatabaseOutage) for cause in failures.causes(error)):
                raise DatabaseOutage from error
            return await self._fail(error)

    def _fell_back(self, model: str, fallback: str, code: str) -> None:
        self._log.append(EventType.MODEL_FALLBACK, model=model, fallback=fallback, code=code)

    async def _load_agents(self) -> None:
        """Load the agents in the versions with which the run began."""
        run = self.run
        selection = await retry_database(partial(self._services.restore_agents, run))
        self._agents = self._services.build_agents(run.tenant_id, selection, self._options.variables)
        uses = uses_of(self._agents)
        memory = memory_of(self._services.database, run, self._log, uses, self._services.embedder)
        self._context = replace(self._context, memory=memory) if memory else self._context
        self._limits = limits_of(selection, self._settings)
        if (policy := policy_of(run, self._agents, self._settings)) is not None:
            self._session.is_compacted = True
            self.compaction = RunCompaction(policy, run, self._session, self._meter, self._services)
        self._meter.token_limit = self._limits.tokens
        database = self._services.database
        self._handoff_limits = HandoffLimits(selection, run, database, self._meter, self._stop_requested.set)
        self._translator.agent = self._agents.get(self._first_agent, self._translator.agent)

    def _stored_outcome(self) -> Outcome | None:
        """Return how the run ends where all of it is stored and only its end is missing."""
        items = self._session.new_items
        if (answer := self.final_answer) is not None:
            outcome = self.outcome(RunStatus.COMPLETED, answer)
            return replace(outcome, is_truncated=self.run.is_truncated)
        if calls := recovery.pending_client_calls(items, self._options.tool_names):
            outcome = self.outcome(RunStatus.COMPLETED, recovery.last_text(items))
            return replace(outcome, tool_calls=calls)
        return None

    async def _restore(self, *, is_new_conversation: bool) -> None:
        """Restore the conversation and the event log; publish that the run started or resumed."""
        run = self.run
        is_new = run.attempt == 1
        if is_new:
            self._append_started()
        logged = recovery.LoggedState() if is_new else await recovery.take_over(self._log)
        # A client that has read nothing yet learns soon that it failed; a run in progress can wait.
        timeout = self._settings.conversation_timeout_seconds
        if is_new_conversation:
            self._session.open_in_background(timeout / 6)
        else:
            await self._session.open(timeout / 6 if is_new else timeout)
            if is_new and self.compaction is not None:
                self.compaction.publish(self._log)
            if ids := self._session.superseded_runs:
                await retry_transaction(self._services.database, superseded.mark, run, ids)
        items = self._session.new_items
        if not is_new and not logged.last:
            self._append_started()
            logged.agent = self._first_agent
        if not is_new:
            self._journal.nested.logged.update(logged.nested_calls)
            await self._journal.load_earlier()
        # Stored items are resumed from even where nothing is left of the log.
        if logged.last or items:
            last = (recovery.handoffs(items) or [self._first_agent])[-1]
            agent = self._agents.get(last, self._translator.agent)
            self._translator.resume(logged, items, agent, recovery.resume_reason(run))
            self._estimate_lost(logged)
        if run.losses > MAX_LOSSES:
            raise WorkerLost

    def _append_started(self) -> None:
        self._log.append(EventType.RUN_STARTED, agent=self._first_agent, model=self.run.model)

    def _estimate_lost(self, logged: recovery.LoggedState) -> None:
        """Estimate the usage of the answer during which a worker was lost; it was not recorded."""
        answer = self.final_answer
        characters = sum(map(len, logged.partial.values())) if answer is None else len(answer)
        if characters and self.run.losses:
            is_own_key = has_own_key(self.run.model)
            self._meter.estimate(self.run.model, self._session.size, characters, is_own_key=is_own_key)

    async def _run_until_stopped(self) -> Outcome | Interruption:
        if self.run.stop is not None:
            return await self._stopped()
        try:
            result = await result_unless_stopped(
                self._run_agent(), self._stop_requested, self._limits.seconds
            )
        finally:
            self._handoff_limits.close()
        if result is not None:
            return result
        if self.run.stop is not None:
            return await self._stopped()
        raise RunTimedOut

    async def _run_agent(self) -> Outcome | Interruption:
        if self._first_agent not in self._agents:
            raise CheckpointInvalid
        if self.run.attempt > 1:
            # No token of the user vouches for the run any more.
            await self._services.memberships.require_active_member(self.run)
        self._handoff_limits.resume([self._first_agent, *self._translator.handoffs])
        result = Runner.run_streamed(
            with_options(self._translator.agent, self._options),
            await self._agent_input(),
            context=self._context,
            max_turns=self._limits.turns,
            hooks=self._handoff_limits.hooks,
            run_config=self._config,
            error_handlers=ERROR_HANDLERS,
            session=self._session,
        )
        try:
            async for event in result.stream_events():
                self._translator.handle(event)
        finally:
            # The SDK cancels its loop and does not wait for it; what broke off there has to be counted.
            if result.run_loop_task is not None:
                await asyncio.wait([result.run_loop_task])
        tool_names = self._options.tool_names
        if interruption := interruption_of(self.run, result, tool_names, self._context):
            return interruption
        if calls := client_calls(result, tool_names):
            outcome = self.outcome(RunStatus.COMPLETED, self._translator.last_text or None)
            return replace(outcome, tool_calls=calls)
        outcome = self.outcome(RunStatus.COMPLETED, str(result.final_output))
        return replace(outcome, is_truncated=self._meter.is_truncated)

    async def _agent_input(self) -> list[TResponseInputItem] | RunState[RunContext]:
        """Return what the agent starts with: the message, the stored items, or a suspended state."""
        if self.run.state:
            agent = with_options(self._agents[self._first_agent], self._options)
            database = self._services.database
            return await resume_state(database, self.run, agent, self._options, self._context)
        if self.run.attempt > 1:
            for call in await self._journal.unstored_calls(self._session.new_items):
                if call.output is None:
                    raise ToolOutcomeUnknown(outcome_unknown_message(call.name))
                await self._session.add(missing_items(call, self._session.new_items))
        return self._session.input_items

    async def _stopped(self) -> Outcome:
        """End a run whose stop was requested: store the partial answer, or roll everything back."""
        if self.run.stop == "rollback":
            await self._turn.roll_back()
            return self.outcome(RunStatus.CANCELLED, None, "rolled_back")
        return self.outcome(RunStatus.CANCELLED, await self._turn.close())

    async def _fail(self, error: Exception) -> Outcome:
        failure = failures.to_service_error(error)
        is_unexpected = isinstance(failure, InternalError)
        logger.log(
            logging.ERROR if is_unexpected else logging.WARNING,
            "run failed",
            extra={"code": failure.code()},
            exc_info=error if is_unexpected else None,
        )
        if is_withdrawn := is_about_message(failure):
            await self._turn.withdraw()
        output = None if is_withdrawn else await self._turn.close()
        outcome = with_failure(self.outcome(RunStatus.FAILED, output), failure)
        return replace(outcome, is_withdrawn=is_withdrawn)
