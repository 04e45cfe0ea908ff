"""One run, from wherever it stands to its end or to the next question for a person."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from agents import RunConfig, RunContextWrapper, Runner, RunState, TResponseInputItem
from agents.exceptions import UserError
from agents.items import ToolApprovalItem
from agents.result import RunResultStreaming
from redis.exceptions import RedisError
from servicekit.database import Database
from servicekit.errors import ServiceError
from sqlalchemy.exc import SQLAlchemyError

from chat_agent.agents import AGENTS
from chat_agent.agents.tool import RunContext
from chat_agent.clients.auth import MembershipClient
from chat_agent.clients.retry import retry_database
from chat_agent.errors import (
    ApprovalExpired,
    CheckpointInvalid,
    InternalError,
    RunTimedOut,
    Superseded,
    ToolOutcomeUnknown,
    WorkerLost,
)
from chat_agent.event_log import recovery
from chat_agent.event_log.store import EventType
from chat_agent.execution.active_run import ActiveRun
from chat_agent.model import failures
from chat_agent.model.provider import ERROR_HANDLERS
from chat_agent.models import Approval
from chat_agent.runs import approvals
from chat_agent.runs.outcome import Outcome
from chat_agent.runs.tool_calls import missing_items, outcome_unknown_message, output_item
from chat_agent.settings import Settings

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
MAX_LOSSES = 5
NOT_EXECUTED = "Not carried out: the run ended first."


@dataclass(frozen=True)
class Interruption:
    """What a run has to ask a person, and the state in which it waits for the answer."""

    approvals: list[Approval]
    state: str


@dataclass(frozen=True)
class RunExecutor:
    """What all runs of this process are performed with."""

    database: Database
    config: RunConfig
    settings: Settings
    memberships: MembershipClient

    async def execute(self, live: ActiveRun) -> Outcome | Interruption:
        """Work on a run; whatever happens, the run ends by a name, or is somebody else's (Superseded)."""
        try:
            await self._restore(live)
            answer = recovery.final_answer(live.session.new_items)
            if answer is not None and live.run.stop != "rollback":
                return live.outcome("completed", answer)
            return await self._run_until_stopped(live)
        except Superseded:
            raise
        except Exception as error:  # whatever it is, the run must end, and by a name
            return await self._fail(live, error)

    async def _restore(self, live: ActiveRun) -> None:
        """Learn how far the run is, and let its readers know."""
        run = live.run
        is_new = run.attempt == 1
        if is_new:
            live.log.append(EventType.RUN_STARTED, agent=run.agent, model=run.model)
        logged = recovery.LoggedState() if is_new else await take_over_log(live)
        # A person who has heard nothing yet hears soon that it cannot be; what is under way can wait.
        timeout = self.settings.conversation_timeout_seconds
        if live.is_new_conversation:
            live.session.open_in_background(timeout / 6)
        else:
            await live.session.open(timeout / 6 if is_new else timeout)
        items = live.session.new_items
        if not is_new and not logged.last:
            live.log.append(EventType.RUN_STARTED, agent=run.agent, model=run.model)
            logged.agent = run.agent
        # What was done is stored even where nothing that was told is left.
        if logged.last or items:
            agent = AGENTS.get((recovery.handoffs(items) or [run.agent])[-1], live.translator.agent)
            live.translator.resume(logged, items, agent, resume_reason(live))
            self._estimate_lost(live, logged)
        if run.losses > MAX_LOSSES:
            raise WorkerLost

    def _estimate_lost(self, live: ActiveRun, logged: recovery.LoggedState) -> None:
        """Count the answer with which a process was lost; nobody has kept what it cost."""
        answer = recovery.final_answer(live.session.new_items)
        characters = sum(map(len, logged.partial.values())) if answer is None else len(answer)
        if characters and live.run.losses:
            live.meter.estimate(live.run.model, live.session.size, characters)

    async def _run_until_stopped(self, live: ActiveRun) -> Outcome | Interruption:
        if live.run.stop is not None:
            return await self._stop(live)
        following = asyncio.create_task(self._run_agent(live))
        stopping = asyncio.create_task(live.stop_requested.wait())
        try:
            await asyncio.wait(
                {following, stopping},
                timeout=self.settings.run_timeout_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            stopping.cancel()
            was_done = following.done()
            if not was_done:
                following.cancel()
                await asyncio.wait({following})
        if was_done:
            return following.result()
        if live.run.stop is not None:
            return await self._stop(live)
        raise RunTimedOut

    async def _run_agent(self, live: ActiveRun) -> Outcome | Interruption:
        if live.run.agent not in AGENTS:
            raise CheckpointInvalid
        if live.run.attempt > 1:
            # Nobody's token vouches for it any more.
            await self.memberships.require_active_member(live.run)
        agent_input = await self._resume_state(live) if live.run.state else await self._input_items(live)
        result = Runner.run_streamed(
            live.translator.agent,
            agent_input,
            context=RunContext(live.conversations, live.journal),
            max_turns=self.settings.run_max_turns,
            run_config=self.config,
            error_handlers=ERROR_HANDLERS,
            session=live.session,
        )
        try:
            async for event in result.stream_events():
                live.translator.handle(event)
        finally:
            # The SDK cancels its loop and does not wait for it; what broke off there has to be counted.
            if result.run_loop_task is not None:
                await asyncio.wait([result.run_loop_task])
        if result.interruptions:
            return interruption_of(live, result)
        return live.outcome("completed", str(result.final_output))

    async def _input_items(self, live: ActiveRun) -> list[TResponseInputItem]:
        """Go on from what is stored, and from calls that were made once and for all."""
        if live.run.attempt == 1:
            return live.session.input_items
        for call in await live.journal.unstored_calls(live.session.new_items):
            if call.output is None:
                raise ToolOutcomeUnknown(outcome_unknown_message(call.name))
            await live.session.add(missing_items(call, live.session.new_items))
        return live.session.input_items

    async def _resume_state(self, live: ActiveRun) -> RunState[RunContext]:
        """Go on from where the run waited, with the answers that were given."""
        decisions = {one.call_id: one for one in await retry_database(lambda: self._approvals(live))}
        context = RunContextWrapper(RunContext(live.conversations, live.journal))
        try:
            state = await RunState.from_string(
                AGENTS[live.run.agent], live.run.state or "", context_override=context
            )
        except UserError as error:
            raise CheckpointInvalid from error
        for item in state.get_interruptions():
            decision = decisions.get(item.call_id or "")
            if decision is None or decision.status in {"pending", "expired"}:
                raise ApprovalExpired
            if decision.status == "approved":
                state.approve(item)
            else:
                state.reject(item, rejection_message=rejection_message(decision))
        return state

    async def _approvals(self, live: ActiveRun) -> list[Approval]:
        async with self.database.begin() as session:
            return await approvals.list_for_run(session, live.run.id)

    async def _stop(self, live: ActiveRun) -> Outcome:
        """End a run that was told to: keep what was said, or forget it."""
        if live.run.stop == "rollback":
            live.translator.complete_partial()
            await live.session.rollback()
            return live.outcome("cancelled", None, "rolled_back")
        return live.outcome("cancelled", await self._store_partial(live))

    async def _fail(self, live: ActiveRun, error: Exception) -> Outcome:
        failure = failures.to_service_error(error)
        is_ours = isinstance(failure, InternalError)
        logger.log(
            logging.ERROR if is_ours else logging.WARNING,
            "run failed",
            extra={"code": failure.code()},
            exc_info=error if is_ours else None,
        )
        return live.outcome("failed", await self._store_partial(live), failure.code(), failure.detail)

    async def _store_partial(self, live: ActiveRun) -> str | None:
        """Keep what was said, marked as incomplete, and leave no call without an output."""
        partial = live.translator.complete_partial()
        text = partial or live.translator.last_text
        try:
            await live.session.wait_until_open()
            await live.session.add([*await self._close_open_calls(live), *incomplete_message(live, partial)])
        except (ServiceError, SQLAlchemyError, OSError) as error:
            # The run ends all the same, and this must not hide why.
            logger.warning("partial answer not kept", extra={"error": type(error).__name__})
        return text or None

    async def _close_open_calls(self, live: ActiveRun) -> list[dict[str, Any]]:
        items = live.session.new_items
        outputs = [
            item for call in await live.journal.unstored_calls(items) for item in missing_items(call, items)
        ]
        closed = {
            item.get("call_id") for item in (*items, *outputs) if item["type"] == "function_call_output"
        }
        open_calls = [item["call_id"] for item in items if item["type"] == "function_call"]
        return [*outputs, *(output_item(id_, NOT_EXECUTED) for id_ in open_calls if id_ not in closed)]


async def take_over_log(live: ActiveRun) -> recovery.LoggedState:
    """Become the writer of a run's log, and read what it says; waits for as long as Redis is away."""
    log = live.log.store
    while True:
        try:
            last = await log.append(live.log.attempt, live.log.ttl_seconds)
            live.log.start_after(max(last, 0))
            return recovery.read_log_state(await log.all())
        except (RedisError, OSError) as error:
            logger.warning("log of a run not read yet", extra={"error": type(error).__name__})
            await asyncio.sleep(RETRY_SECONDS)


def resume_reason(live: ActiveRun) -> str:
    """Say why a run goes on here."""
    if live.run.state is not None:
        return "answered"
    return "worker_lost" if live.run.losses else "handed_over"


def interruption_of(live: ActiveRun, result: RunResultStreaming) -> Interruption:
    """Put what the run asks, and the state it waits in, into what can be stored."""
    requests = [approval_of(live, item) for item in result.interruptions]
    return Interruption(requests, result.to_state().to_string(context_serializer=lambda _context: {}))


def approval_of(live: ActiveRun, item: ToolApprovalItem) -> Approval:
    """Make the row of one thing that is asked."""
    return Approval(
        id=uuid4(),
        run_id=live.run.id,
        call_id=item.call_id or "",
        agent=item.agent.name,
        name=item.name or "",
        arguments=item.arguments or "{}",
    )


def rejection_message(approval: Approval) -> str:
    """Say to the model that it may not."""
    return f"The person did not allow this. {approval.reason or ''}".strip()


def incomplete_message(live: ActiveRun, text: str) -> list[dict[str, Any]]:
    """Make the item of an answer that was cut off."""
    if not text:
        return []
    part = {"type": "output_text", "text": text, "annotations": []}
    ids = {"id": f"msg_{live.run.id.hex}_{live.run.attempt}", "type": "message", "role": "assistant"}
    return [{**ids, "status": "incomplete", "content": [part]}]
