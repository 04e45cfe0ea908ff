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
from chat_agent.clients.auth import Owners
from chat_agent.clients.retry import through_outages
from chat_agent.errors import (
    ApprovalExpired,
    CheckpointUnreadable,
    InternalError,
    ReplicaLost,
    RunTimedOut,
    Superseded,
    ToolOutcomeUnknown,
)
from chat_agent.event_log import recovery
from chat_agent.execution.active_run import Live
from chat_agent.model import failures
from chat_agent.model.provider import ERROR_HANDLERS
from chat_agent.models import Approval
from chat_agent.runs import approvals
from chat_agent.runs.outcome import Outcome
from chat_agent.runs.tool_calls import items_of, output_item, unknown
from chat_agent.settings import Settings

logger = logging.getLogger(__name__)

READ_PAUSE = 0.5
MOST_LOSSES = 5
NOT_DONE = "Not carried out: the run ended first."


@dataclass(frozen=True)
class Question:
    """What a run has to ask a person, and the state in which it waits for the answer."""

    asked: list[Approval]
    state: str


@dataclass(frozen=True)
class Performer:
    """What all runs of this process are performed with."""

    database: Database
    config: RunConfig
    settings: Settings
    owners: Owners

    async def perform(self, live: Live) -> Outcome | Question:
        """Work on a run; whatever happens, the run ends by a name, or is somebody else's (Superseded)."""
        try:
            await self._take_up(live)
            answer = recovery.answer(live.session.made)
            if answer is not None and live.run.stop != "rollback":
                return live.outcome("completed", answer)
            return await self._converse(live)
        except Superseded:
            raise
        except Exception as error:  # whatever it is, the run must end, and by a name
            return await self._broken_off(live, error)

    async def _take_up(self, live: Live) -> None:
        """Learn how far the run is, and let its readers know."""
        run = live.run
        is_new = run.attempt == 1
        if is_new:
            live.log.append("run.started", agent=run.agent, model=run.model)
        told = recovery.Told() if is_new else await read_log(live)
        # A person who has heard nothing yet hears soon that it cannot be; what is under way can wait.
        patience = self.settings.conversation_patience_seconds
        if live.begins_conversation:
            live.session.go_ahead(patience / 6)
        else:
            await live.session.open(patience / 6 if is_new else patience)
        made = live.session.made
        if not is_new and not told.last:
            live.log.append("run.started", agent=run.agent, model=run.model)
            told.agent = run.agent
        # What was done is stored even where nothing that was told is left.
        if told.last or made:
            agent = AGENTS.get((recovery.handoffs(made) or [run.agent])[-1], live.narrator.agent)
            live.narrator.go_on(told, made, agent, why(live))
            self._estimate_lost(live, told)
        if run.losses > MOST_LOSSES:
            raise ReplicaLost

    def _estimate_lost(self, live: Live, told: recovery.Told) -> None:
        """Count the answer with which a process was lost; nobody has kept what it cost."""
        answer = recovery.answer(live.session.made)
        said = sum(map(len, told.begun.values())) if answer is None else len(answer)
        if said and live.run.losses:
            live.meter.estimate(live.run.model, live.session.size, said)

    async def _converse(self, live: Live) -> Outcome | Question:
        if live.run.stop is not None:
            return await self._stopped(live)
        following = asyncio.create_task(self._follow(live))
        stopping = asyncio.create_task(live.stopping.wait())
        try:
            await asyncio.wait(
                {following, stopping},
                timeout=self.settings.run_seconds,
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
            return await self._stopped(live)
        raise RunTimedOut

    async def _follow(self, live: Live) -> Outcome | Question:
        if live.run.agent not in AGENTS:
            raise CheckpointUnreadable
        if live.run.attempt > 1:
            # Nobody's token vouches for it any more.
            await self.owners.still_may(live.run)
        given = await self._state(live) if live.run.state else await self._items(live)
        result = Runner.run_streamed(
            live.narrator.agent,
            given,
            context=RunContext(live.conversations, live.journal),
            max_turns=self.settings.run_max_turns,
            run_config=self.config,
            error_handlers=ERROR_HANDLERS,
            session=live.session,
        )
        try:
            async for event in result.stream_events():
                live.narrator.tell(event)
        finally:
            # The SDK cancels its loop and does not wait for it; what broke off there has to be counted.
            if result.run_loop_task is not None:
                await asyncio.wait([result.run_loop_task])
        if result.interruptions:
            return question(live, result)
        return live.outcome("completed", str(result.final_output))

    async def _items(self, live: Live) -> list[TResponseInputItem]:
        """Go on from what is stored, and from calls that were made once and for all."""
        if live.run.attempt == 1:
            return live.session.asked
        for call in await live.journal.beyond(live.session.made):
            if call.output is None:
                raise ToolOutcomeUnknown(unknown(call.name))
            await live.session.add(items_of(call, live.session.made))
        return live.session.asked

    async def _state(self, live: Live) -> RunState[RunContext]:
        """Go on from where the run waited, with the answers that were given."""
        answers = {one.call_id: one for one in await through_outages(lambda: self._asked(live))}
        context = RunContextWrapper(RunContext(live.conversations, live.journal))
        try:
            state = await RunState.from_string(
                AGENTS[live.run.agent], live.run.state or "", context_override=context
            )
        except UserError as error:
            raise CheckpointUnreadable from error
        for item in state.get_interruptions():
            answer = answers.get(item.call_id or "")
            if answer is None or answer.status in {"pending", "expired"}:
                raise ApprovalExpired
            if answer.status == "approved":
                state.approve(item)
            else:
                state.reject(item, rejection_message=rejection(answer))
        return state

    async def _asked(self, live: Live) -> list[Approval]:
        async with self.database.begin() as session:
            return await approvals.of_run(session, live.run.id)

    async def _stopped(self, live: Live) -> Outcome:
        """End a run that was told to: keep what was said, or forget it."""
        if live.run.stop == "rollback":
            live.narrator.keep_partial()
            await live.session.forget()
            return live.outcome("cancelled", None, "rolled_back")
        return live.outcome("cancelled", await self._keep(live))

    async def _broken_off(self, live: Live, error: Exception) -> Outcome:
        failure = failures.name(error)
        is_ours = isinstance(failure, InternalError)
        logger.log(
            logging.ERROR if is_ours else logging.WARNING,
            "run failed",
            extra={"code": failure.code()},
            exc_info=error if is_ours else None,
        )
        return live.outcome("failed", await self._keep(live), failure.code(), failure.detail)

    async def _keep(self, live: Live) -> str | None:
        """Keep what was said, marked as incomplete, and leave no call without an output."""
        partial = live.narrator.keep_partial()
        said = partial or live.narrator.last_text
        try:
            await live.session.opened()
            await live.session.add([*await self._loose_ends(live), *incomplete(live, partial)])
        except (ServiceError, SQLAlchemyError, OSError) as error:
            # The run ends all the same, and this must not hide why.
            logger.warning("partial answer not kept", extra={"error": type(error).__name__})
        return said or None

    async def _loose_ends(self, live: Live) -> list[dict[str, Any]]:
        made = live.session.made
        ends = [item for call in await live.journal.beyond(made) for item in items_of(call, made)]
        closed = {item.get("call_id") for item in (*made, *ends) if item["type"] == "function_call_output"}
        open_ = [item["call_id"] for item in made if item["type"] == "function_call"]
        return [*ends, *(output_item(id_, NOT_DONE) for id_ in open_ if id_ not in closed)]


async def read_log(live: Live) -> recovery.Told:
    """Become the writer of a run's log, and read what it says; waits for as long as Redis is away."""
    log = live.log.recorded
    while True:
        try:
            last = await log.append(live.log.attempt, live.log.keep_seconds)
            live.log.go_on_after(max(last, 0))
            return recovery.read(await log.all())
        except (RedisError, OSError) as error:
            logger.warning("log of a run not read yet", extra={"error": type(error).__name__})
            await asyncio.sleep(READ_PAUSE)


def why(live: Live) -> str:
    """Say why a run goes on here."""
    if live.run.state is not None:
        return "answered"
    return "replica_lost" if live.run.losses else "handed_over"


def question(live: Live, result: RunResultStreaming) -> Question:
    """Put what the run asks, and the state it waits in, into what can be stored."""
    asked = [approval(live, item) for item in result.interruptions]
    return Question(asked, result.to_state().to_string(context_serializer=lambda _context: {}))


def approval(live: Live, item: ToolApprovalItem) -> Approval:
    """Make the row of one thing that is asked."""
    return Approval(
        id=uuid4(),
        run_id=live.run.id,
        call_id=item.call_id or "",
        agent=item.agent.name,
        name=item.name or "",
        arguments=item.arguments or "{}",
    )


def rejection(answer: Approval) -> str:
    """Say to the model that it may not."""
    return f"The person did not allow this. {answer.reason or ''}".strip()


def incomplete(live: Live, text: str) -> list[dict[str, Any]]:
    """Make the item of an answer that was cut off."""
    if not text:
        return []
    part = {"type": "output_text", "text": text, "annotations": []}
    ids = {"id": f"msg_{live.run.id.hex}_{live.run.attempt}", "type": "message", "role": "assistant"}
    return [{**ids, "status": "incomplete", "content": [part]}]
